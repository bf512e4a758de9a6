/** Definitions of all sorts, and hosts of all kinds: for the planner's tests here and those against libvirt's schemas and a real libvirtd. */
import type { GuestDefinition, GuestDisk, GuestHardware } from "../../../../src/driver/index.js";
import type { DomainPlanOptions } from "../../../../src/libvirt/driver/plan/index.js";
import type { DiskSource } from "../../../../src/storage/index.js";
import { KIND_CASES } from "./kind-cases.js";
import { PLATFORM_CASES } from "./platform-cases.js";
import { SECRET_UUID, definitionOf, diskOf, fileSource, nicOf, second, withHardware } from "./plan-parts.js";
import type { PlanCase } from "./plan-parts.js";

export { SECRET_UUID, UUID, definitionOf, diskOf, factsOf, nicOf } from "./plan-parts.js";
export type { PlanCase } from "./plan-parts.js";

const SECRETS: DomainPlanOptions = { secretUuids: { key: SECRET_UUID }, nbdTlsDirectory: "/etc/pki/nbd" };
const SERVER = { host: "2001:db8::1", port: 3260 };
const SOURCES: Readonly<Record<string, DiskSource>> = {
  "a raw block device": { type: "block", format: "raw", path: "/dev/loop7" },
  "NBD over TCP with TLS": {
    type: "nbd",
    format: "raw",
    server: { type: "inet", host: "storage.example", port: 10_809 },
    exportName: "a & <b>",
    tls: { directory: "/etc/pki/nbd", hostname: "other.example" },
  },
  "NBD over a socket": { type: "nbd", format: "raw", server: { type: "unix", path: "/run/nbd.sock" }, exportName: "" },
  iSCSI: {
    type: "iscsi",
    format: "raw",
    portal: SERVER,
    target: "iqn.2010-10.org.openstack:volume",
    lun: 3,
    initiator: "iqn.2010-10.org.openstack:me",
    auth: { username: "u", secretId: "key" },
  },
  RBD: {
    type: "rbd",
    format: "raw",
    pool: "volumes",
    image: "volume-1",
    monitors: [SERVER, { host: "192.0.2.1", port: 6789 }],
    user: "cinder",
    secretId: "key",
    configPath: "/etc/ceph/ceph.conf",
  },
  "a LUKS file": {
    type: "file",
    format: "raw",
    path: "/srv/guests/secret.img",
    encryption: { format: "luks", secretId: "key" },
  },
  "a qcow2 file with LUKS within": { ...fileSource("luks"), encryption: { format: "luks", secretId: "key" } },
};

const HARDWARE: Readonly<Record<string, GuestHardware>> = {
  "a named CPU with changed features": {
    cpu: {
      mode: "custom",
      model: "qemu64",
      features: [
        { name: "aes", policy: "require" },
        { name: "svm", policy: "disable" },
      ],
    },
  },
  "all that the accelerator can do": { cpu: { mode: "maximum" } },
  "NUMA cells and pins": {
    ioThreads: 2,
    cpu: {
      numaCells: [
        { vcpus: [0], memoryMiB: 256, hostNodes: [0] },
        { vcpus: [1], memoryMiB: 256, hostNodes: [0], policy: "preferred" },
      ],
      pinning: { vcpus: [[0], [0, 1]], emulator: [0, 1], ioThreads: [[1], []] },
    },
  },
  "vCPUs and memory that can be added": { cpu: { maxVcpus: 8 }, memory: { maxMiB: 2048, slots: 4 } },
  "memory that grows by virtio-mem": { memory: { maxMiB: 1536, hotplug: "virtio-mem" } },
  "shared memory, locked and taken at once": {
    memory: { backing: "memfd", shared: true, locked: true, preallocated: true, mergeable: false },
  },
  "directories of the host": {
    filesystems: [
      { tag: "home", path: "/srv/a & 'b'", driver: "9p", readOnly: true, securityModel: "none" },
      { tag: "data", path: "/srv/data", driver: "virtiofs" },
    ],
  },
  "consoles on sockets": { vnc: {}, spice: {}, video: { model: "virtio" } },
  "consoles on addresses": {
    vnc: { address: "127.0.0.1", port: 5911, passwordRequired: true, keymap: "de" },
    spice: {
      address: "::1",
      imageCompression: "auto-glz",
      jpegCompression: "auto",
      zlibGlzCompression: "never",
      streamingVideo: "filter",
      playbackCompression: true,
      agent: false,
      passwordRequired: true,
    },
    video: { model: "qxl", memoryMiB: 32 },
  },
  "every small part": {
    extraSerialPorts: 3,
    rng: { source: "/dev/random", maxBytes: 1024, periodMs: 250 },
    balloon: { statisticsPeriodSeconds: 10, freePageReporting: true, deflateOnOom: true },
    watchdog: { model: "i6300esb", action: "injectNmi" },
    sound: { model: "ich9" },
    vsock: { cid: 42 },
    bootMenuMs: 3000,
    onReboot: "poweroff",
    clock: { base: "localtime", driftFix: "none" },
    generationId: true,
  },
  "few parts": { rng: false, balloon: false, video: { model: "none" }, generationId: false },
  "devices of the host": {
    devices: [
      { type: "usbInput", id: "tablet", model: "tablet" },
      { type: "usbHost", id: "key", vendorId: 0x46d, productId: 0xc077 },
      { type: "usbHostAddress", id: "stick", bus: 1, address: 4 },
      { type: "pciHost", id: "gpu", address: "0000:3b:00.0" },
    ],
  },
  "what its maker says": {
    smbios: {
      bios: { vendor: "A & B", version: "1", date: "01/02/2024", release: "1.2" },
      system: { manufacturer: "<m>", product: "p", version: "v", serial: "s", sku: "k", family: "f" },
      baseBoard: { manufacturer: "m", asset: "a" },
      chassis: { manufacturer: "m", sku: "s" },
      oemStrings: ["io.systemd.credential:a=b", "]]>"],
    },
  },
};

const SCHEMA_ONLY_HARDWARE: Readonly<Record<string, GuestHardware>> = {
  "a TPM": { tpm: {} },
  "huge pages": { memory: { backing: "hugepages", hugepageKiB: 2048 } },
  "a mediated device": { devices: [{ type: "mediated", id: "vgpu", uuid: SECRET_UUID }] },
};

const tuned = (tuning: NonNullable<GuestDisk["tuning"]>): GuestDefinition =>
  withHardware({ ioThreads: 1 }, { disks: [diskOf({ tuning, serial: "vol-1" })] });

const qemu = (name: string, definition: GuestDefinition, more: Partial<PlanCase> = {}): PlanCase => ({
  name,
  virtType: "qemu",
  definition,
  ...more,
});

export const PLAN_CASES: readonly PlanCase[] = [
  qemu("an ordinary guest", definitionOf()),
  qemu("on the older machine", definitionOf({ machine: "pc" })),
  qemu("UEFI", definitionOf({ firmware: "uefi" }), { options: { nvramPath: "/srv/guests/vars.fd" } }),
  qemu("UEFI with secure boot", withHardware({ uefi: { secureBoot: true } }, { firmware: "uefi" })),
  qemu(
    "UEFI of one's own",
    withHardware({ uefi: { codePath: "/srv/code.fd", variablesTemplatePath: "/srv/vars.fd" } }, { firmware: "uefi" }),
    { options: { nvramPath: "/srv/guests/vars.fd" } },
  ),
  qemu("a kernel", definitionOf({ kernel: { kernelPath: "/k", ramdiskPath: "/r", commandLine: "a=\"<b>\" & 'c'" } }), {
    schemaOnly: true,
  }),
  ...Object.entries(SOURCES).map(([name, source]) =>
    qemu(`a disk in ${name}`, definitionOf({ disks: [diskOf(), second({ source })] }), { options: SECRETS }),
  ),
  ...Object.entries(HARDWARE).map(([name, hardware]) => qemu(name, withHardware(hardware))),
  ...Object.entries(SCHEMA_ONLY_HARDWARE).map(([name, hardware]) =>
    qemu(name, withHardware(hardware), { schemaOnly: true }),
  ),
  qemu("memory in files", withHardware({ memory: { backing: "file", directory: "/var/lib/libvirt/qemu/ram" } }), {
    options: { memoryDirectory: "/var/lib/libvirt/qemu/ram" },
  }),
  qemu(
    "a disk read and written in every way",
    tuned({
      cache: "none",
      aio: "native",
      discard: "ignore",
      detectZeroes: "on",
      ioThread: 0,
      queues: 2,
      logicalBlockBytes: 4096,
      physicalBlockBytes: 8192,
      onReadError: "report",
      onWriteError: "enospc",
      limits: {
        totalBytesPerSecond: 10_000_000,
        readOperationsPerSecond: 100,
        writeOperationsPerSecond: 0,
        burst: { readOperationsPerSecond: 200 },
        burstSeconds: 5,
      },
    }),
  ),
  qemu(
    "disks on all buses",
    definitionOf({
      machine: "pc",
      disks: [
        diskOf({ id: "a", bus: "scsi", deviceName: "sda" }),
        diskOf({ id: "b", bus: "scsi", deviceName: "sdaa", source: fileSource("b"), bootIndex: 4 }),
        diskOf({ id: "c", bus: "ide", deviceName: "hda", deviceType: "cdrom", readOnly: true, bootIndex: 7 }),
        second({ id: "d", bus: "usb", deviceName: "sdab", source: fileSource("d") }),
        second({
          id: "e",
          bus: "fdc",
          deviceName: "fda",
          deviceType: "floppy",
          source: { type: "file", format: "raw", path: "/srv/floppy" },
        }),
        { id: "drive-hdb", bus: "ide", deviceName: "hdb", deviceType: "cdrom", readOnly: true, shareable: false },
        second({ id: "f", source: { type: "file", format: "raw", path: "/srv/shared" }, shareable: true }),
      ],
    }),
  ),
  ...(["lsi", "megasas"] as const).map((scsiController) =>
    qemu(
      `SCSI disks on ${scsiController}`,
      withHardware({ scsiController }, { disks: [diskOf({ bus: "scsi", deviceName: "sdc" })] }),
    ),
  ),
  qemu(
    "NICs of all kinds",
    definitionOf({
      nics: [
        nicOf({ mtu: 1450, queues: 2, bootIndex: 1 }),
        nicOf({
          id: "n2",
          macAddress: "52:54:00:00:00:02",
          model: "e1000e",
          backend: { type: "user", cidr: "10.9.0.0/24" },
        }),
        nicOf({
          id: "n3",
          macAddress: "52:54:00:00:00:03",
          backend: { type: "macvtap", deviceName: "mvt0", queues: 1 },
        }),
        nicOf({
          id: "n4",
          macAddress: "52:54:00:00:00:04",
          backend: { type: "vhostUser", socketPath: "/run/vhu", server: "hypervisor", queues: 2 },
        }),
        nicOf({ id: "n5", macAddress: "52:54:00:00:00:05", backend: { type: "tap", deviceName: "tap5", queues: 1 } }),
      ],
    }),
    { options: { filters: { n5: { name: "clean-traffic", parameters: { IP: "192.0.2.1" } } } } },
  ),
  qemu(
    "an IOMMU, perf events and weights",
    {
      ...definitionOf(),
      platform: {
        libvirt: {
          iommu: { model: "intel" },
          perfEvents: ["cpu_cycles", "cmt"],
          cpuShares: 512,
          cpuPeriod: 10_000,
          cpuQuota: 5000,
        },
      },
    },
    { schemaOnly: true },
  ),
  qemu("places, tags and metadata of all sorts", definitionOf(), {
    options: {
      metadata: { "a<b": "]]> & \"c\" 'd'", project: "p" },
      tags: { root: "boot & go" },
      generationId: SECRET_UUID,
      consoleLogPath: "/srv/guests/console.log",
      guestAgentSocket: "/srv/guests/agent.sock",
      machineType: "q35",
      spareRootPorts: 0,
      machineSerial: "s-1",
    },
  }),
  qemu("on ARM", withHardware({ tpm: {} }, { machine: "virt", firmware: "uefi" }), { schemaOnly: true }),
  ...PLATFORM_CASES,
  ...KIND_CASES,
];

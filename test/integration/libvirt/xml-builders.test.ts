import { writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { Secret } from "../../../src/core/index.js";
import {
  channelXml,
  consoleXml,
  diskXml,
  domainBackupXml,
  domainCheckpointXml,
  domainSnapshotXml,
  filesystemXml,
  filterReferenceXml,
  formatXml,
  graphicsXml,
  hostDeviceXml,
  interfaceXml,
  networkXml,
  nwFilterXml,
  secretXml,
  serialXml,
  storagePoolXml,
  storageVolumeXml,
} from "../../../src/libvirt/index.js";
import type { DomainXml, XmlKind, XmlKinds } from "../../../src/libvirt/index.js";
import { requirePackages, withTemporaryDirectory } from "../../lab/index.js";
import { complaints, libvirtSources, reasonToSkip, schemaOf } from "./xml-schemas.js";
import type { LibvirtSource } from "./xml-schemas.js";

const UUID = "0f5bd3c5-3d1a-4d25-8bd4-61ea4cb14d1e";
const skip = reasonToSkip();

type Document = { readonly [Kind in XmlKind]: readonly [kind: Kind, value: XmlKinds[Kind]] }[XmlKind];

const domain: DomainXml = {
  // In no order that a schema would want.
  devices: {
    disk: [
      diskXml({ source: { file: "/a & b.qcow2" }, target: "vda", bus: "virtio", format: "qcow2", bootOrder: 1 }),
      diskXml({
        source: { block: "/dev/sdb" },
        target: "vdb",
        cache: "none",
        io: "native",
        discard: "unmap",
        serial: "s1",
      }),
      diskXml({
        source: { pool: "p", volume: "v" },
        target: "vdc",
        shareable: true,
        limits: { read_bytes_sec: 2n ** 60n },
      }),
      diskXml({
        source: {
          protocol: "rbd",
          name: "p/i",
          hosts: [{ name: "mon", port: 6789 }],
          auth: { username: "u", secretType: "ceph", secretUuid: UUID },
        },
        target: "vdd",
        luksSecretUuid: UUID,
      }),
      diskXml({
        source: { directory: "/fat" },
        format: "fat",
        device: "floppy",
        target: "fda",
        bus: "fdc",
        readonly: true,
      }),
      diskXml({ device: "cdrom", target: "sda", bus: "sata", readonly: true }),
    ],
    interface: [
      interfaceXml({
        source: { network: "default", portGroup: "a" },
        mac: "02:00:00:00:00:01",
        filter: { name: "clean-traffic", parameters: { IP: ["192.0.2.1", "192.0.2.2"] } },
        inbound: { averageKiBs: 100, peakKiBs: 200, burstKiB: 300 },
        outbound: { averageKiBs: 100 },
        queues: 4,
        mtu: 1400,
        linkState: "down",
        bootOrder: 2,
      }),
      interfaceXml({ source: { bridge: "br0" }, vlans: [1, 2], openVSwitchInterfaceId: UUID, target: "vnet9" }),
      interfaceXml({ source: { tap: "tap0", exists: true }, model: "e1000" }),
      interfaceXml({ source: { macvtap: "eth0", mode: "bridge" } }),
      interfaceXml({ source: { vhostUser: "/s", mode: "server" }, queues: 2 }),
      interfaceXml({ source: { vdpa: "/dev/vhost-vdpa-0" } }),
      interfaceXml({ source: { pci: "0000:03:10.1", managed: true }, mac: "02:00:00:00:00:02", vlans: [3] }),
      interfaceXml({ source: { user: true } }),
    ],
    filesystem: [
      filesystemXml({ source: { directory: "/d" }, target: "tag", driver: "virtiofs", accessMode: "passthrough" }),
      filesystemXml({ source: { directory: "/d" }, target: "tag", readonly: true }),
      filesystemXml({ source: { file: "/f" }, target: "/m", driver: "loop" }),
      filesystemXml({ source: { block: "/dev/sdb" }, target: "/m" }),
      filesystemXml({ source: { socket: "/s" }, target: "tag", driver: "virtiofs" }),
    ],
    serial: [
      serialXml({ backend: { file: "/log", append: true }, port: 0, targetType: "isa-serial" }),
      serialXml({ backend: { tcp: { host: "127.0.0.1", port: 5000 }, listen: true, telnet: true } }),
      serialXml({ backend: { unix: "/s", listen: false } }),
      serialXml({ backend: { device: "/dev/ttyS0" } }),
      serialXml({ backend: { pipe: "/p" } }),
      serialXml({ backend: { null: true } }),
    ],
    console: [consoleXml(), consoleXml({ targetType: "virtio", port: 1, log: { file: "/log", append: false } })],
    channel: [
      channelXml({ name: "org.qemu.guest_agent.0" }),
      channelXml({ name: "a.0", backend: { unix: "/s", listen: true }, log: { file: "/log" } }),
    ],
    graphics: [
      graphicsXml({ type: "vnc", listen: { address: "127.0.0.1" }, keymap: "de" }),
      graphicsXml({ type: "vnc", listen: { socket: "/s" } }),
      graphicsXml({ type: "spice", port: 5901, tlsPort: 5902, password: Secret.of("p"), passwordValidTo: new Date(0) }),
      graphicsXml({ type: "spice", listen: { network: "default" } }),
    ],
    hostdev: [
      hostDeviceXml({ device: { pci: "0000:01:00.0" }, managed: true, bootOrder: 3 }),
      hostDeviceXml({ device: { usb: { vendor: "046d", product: "c077" } } }),
      hostDeviceXml({ device: { usbAddress: { bus: 1, device: 4 } } }),
      hostDeviceXml({ device: { mediated: UUID }, managed: false }),
    ],
    emulator: "/usr/bin/qemu-system-x86_64",
  },
  "qemu:commandline": { "qemu:arg": [{ value: '-name "a" <b>' }], "qemu:env": [{ name: "A", value: "b" }] },
  metadata: { $content: [{ name: "app:about", attributes: { "xmlns:app": "urn:app" }, children: ["text"] }] },
  features: { acpi: true, apic: {} },
  os: { boot: [{ dev: "hd" }], type: { arch: "x86_64", machine: "q35", $text: "hvm" } },
  vcpu: { placement: "static", $text: 2 },
  memory: { unit: "MiB", $text: 512 },
  uuid: UUID,
  name: "a & b",
  type: "kvm",
};

const DOCUMENTS: readonly Document[] = [
  ["domain", domain],
  [
    "network",
    networkXml({
      name: "n",
      uuid: UUID,
      bridge: "virbr9",
      stp: false,
      forward: "nat",
      forwardDevice: "eth0",
      dnsDomain: "example.org",
      mtu: 1400,
      addresses: [
        {
          cidr: "192.0.2.1/24",
          ranges: [{ start: "192.0.2.2", end: "192.0.2.9" }],
          hosts: [{ mac: "02:00:00:00:00:01", ip: "192.0.2.2", name: "a" }],
        },
        { cidr: "2001:db8::1/64" },
      ],
    }),
  ],
  ["network", networkXml({ name: "n", forward: "bridge", bridge: "br0" })],
  [
    "nwFilter",
    nwFilterXml({
      name: "f",
      uuid: UUID,
      chain: "root",
      priority: -500,
      entries: [
        {
          action: "accept",
          direction: "in",
          priority: 100,
          protocol: "tcp",
          match: { dstportstart: "22", dstportend: "23" },
        },
        { filter: { name: "no-spoofing", parameters: { IP: "192.0.2.1" } } },
        { action: "accept", direction: "out", stateMatch: false, protocol: "icmpv6" },
        { action: "drop", direction: "inout", priority: 1000, protocol: "all" },
      ],
    }),
  ],
  [
    "nwFilterBinding",
    {
      owner: { name: "guest", uuid: UUID },
      portdev: { name: "vnet0" },
      mac: { address: "02:00:00:00:00:01" },
      filterref: filterReferenceXml({ name: "clean-traffic", parameters: { IP: "192.0.2.1" } }),
    },
  ],
  ["secret", secretXml({ uuid: UUID, description: "d", ephemeral: true, private: false, usage: { volume: "/v" } })],
  ["secret", secretXml({ usage: { ceph: "c" } })],
  ["secret", secretXml({ usage: { iscsi: "i" } })],
  ["secret", secretXml({ usage: { tls: "t" } })],
  ["secret", secretXml({ usage: { vtpm: "v" } })],
  ["storagePool", storagePoolXml({ type: "dir", name: "p", uuid: UUID, path: "/p" })],
  [
    "storagePool",
    storagePoolXml({ type: "logical", name: "vg", sourceName: "vg", devices: ["/dev/sdb"], path: "/dev/vg" }),
  ],
  [
    "storagePool",
    storagePoolXml({ type: "netfs", name: "p", hosts: [{ name: "h" }], directory: "/d", format: "nfs", path: "/p" }),
  ],
  [
    "storagePool",
    storagePoolXml({
      type: "rbd",
      name: "p",
      sourceName: "pool",
      hosts: [{ name: "mon", port: 6789 }],
      auth: { type: "ceph", username: "u", secretUuid: UUID },
    }),
  ],
  [
    "storageVolume",
    storageVolumeXml({
      name: "v.qcow2",
      capacityBytes: 2n ** 60n,
      allocationBytes: 0,
      format: "qcow2",
      backing: { path: "/base.img", format: "raw" },
    }),
  ],
  ["storageVolume", storageVolumeXml({ name: "v", capacityBytes: 4096, format: "raw", luksSecretUuid: UUID })],
  [
    "domainSnapshot",
    domainSnapshotXml({
      name: "s",
      description: "d",
      disks: { vda: { file: "/o" }, vdb: "no" },
      memory: { file: "/m" },
    }),
  ],
  ["domainSnapshot", domainSnapshotXml({ disks: { vda: "internal" }, memory: "internal" })],
  ["domainCheckpoint", domainCheckpointXml({ name: "c", disks: { vda: true, vdb: false } })],
  ["domainBackup", domainBackupXml({ mode: "push", since: "c", disks: { vda: { file: "/b" } } })],
  [
    "domainBackup",
    domainBackupXml({
      mode: "pull",
      server: { host: "127.0.0.1", port: 10809 },
      disks: { vda: { scratchFile: "/s" } },
    }),
  ],
  ["domainBackup", domainBackupXml({ mode: "pull", server: { socket: "/n" }, disks: { vda: { scratchFile: "/s" } } })],
];

describe("what the builders make", () => {
  let sources: LibvirtSource[];

  beforeAll(async () => {
    requirePackages("xmllint");
    if (skip === undefined) sources = await libvirtSources();
  });

  it.for(DOCUMENTS.map(([kind, value], index) => ({ kind, value, index })))(
    "is what the schemas accept: $kind ($index)",
    async ({ kind, value }, context) => {
      context.skip(skip !== undefined, skip);
      await withTemporaryDirectory(async (directory) => {
        const file = directory.file("document.xml");
        await writeFile(file, formatXml(kind, value));
        for (const source of sources) expect(await complaints(schemaOf(kind, source), file), source.version).toBe("");
      });
    },
  );
});

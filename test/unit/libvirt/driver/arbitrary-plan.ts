/** Definitions of guests of any kind with any hardware, mostly such as can be: for what holds of all that is planned. */
import fc from "fast-check";
import { CPU_MODES, SCSI_CONTROLLERS, SOUND_MODELS, VIDEO_MODELS } from "../../../../src/driver/index.js";
import type { DiskTuning, GuestDefinition, GuestDisk, GuestHardware, GuestNic } from "../../../../src/driver/index.js";
import { VIRT_TYPES } from "../../../../src/libvirt/driver/plan/index.js";
import type { DomainPlanOptions, LibvirtPlatform, VirtType } from "../../../../src/libvirt/driver/plan/index.js";
import type { DiskSource } from "../../../../src/storage/index.js";
import { SECRET_UUID, definitionOf, diskOf, nicOf } from "./plan-parts.js";

export interface ArbitraryPlan {
  readonly virtType: VirtType;
  readonly definition: GuestDefinition;
  readonly options: DomainPlanOptions;
}

/** An object with some of the members. */
const some = <T extends object>(members: { [K in keyof T]-?: fc.Arbitrary<NonNullable<T[K]>> }): fc.Arbitrary<T> =>
  fc.record(members, { requiredKeys: [] }) as fc.Arbitrary<unknown> as fc.Arbitrary<T>;
const one = <const T extends readonly unknown[]>(...values: T): fc.Arbitrary<T[number]> => fc.constantFrom(...values);
const text = fc.oneof(fc.string({ minLength: 1, maxLength: 8 }), one("a & <b>", "'\"", "ü"));

const source: fc.Arbitrary<DiskSource> = fc.oneof(
  { weight: 3, arbitrary: one<readonly DiskSource[]>({ type: "file", format: "qcow2", path: "/srv/a" }) },
  one<readonly DiskSource[]>(
    { type: "file", format: "raw", path: "/srv/b", encryption: { format: "luks", secretId: "key" } },
    { type: "block", format: "raw", path: "/dev/sdb" },
    { type: "nbd", format: "raw", server: { type: "unix", path: "/run/n" }, exportName: "e" },
    { type: "rbd", format: "raw", pool: "p", image: "i", secretId: "key" },
  ),
);

const tuning: fc.Arbitrary<DiskTuning> = one<readonly DiskTuning[]>(
  { cache: "writeback", discard: "ignore", detectZeroes: "on" },
  { cache: "none", aio: "native", queues: 2 },
  { cache: "directsync", aio: "io_uring" },
  { logicalBlockBytes: 4096, physicalBlockBytes: 8192, onReadError: "report", onWriteError: "enospc" },
  { limits: { readOperationsPerSecond: 10, burst: { readOperationsPerSecond: 20 }, burstSeconds: 3 } },
  { aio: "threads", detectZeroes: "unmap", discard: "unmap", onReadError: "ignore" },
);

const PREFIXES = { virtio: "vd", scsi: "sd", sata: "sd", usb: "sd", ide: "hd", fdc: "fd", nvme: "nvme" } as const;

const disks: fc.Arbitrary<readonly GuestDisk[]> = fc
  .array(
    fc.record({
      bus: fc.oneof(
        { weight: 12, arbitrary: one("virtio" as const) },
        one("scsi", "sata", "ide", "usb", "fdc", "nvme"),
      ),
      source,
      tuning: fc.option(tuning, { nil: undefined, freq: 3 }),
      booted: fc.boolean(),
      readOnly: fc.boolean(),
      shareable: one(false, false, false, true),
      tag: fc.option(text, { nil: undefined }),
    }),
    { maxLength: 4 },
  )
  .map((list) =>
    list.map(({ tuning: tuned, booted, tag, shareable, ...disk }, index): GuestDisk => {
      const { bootIndex: _bootIndex, ...base } = diskOf();
      return {
        ...base,
        ...disk,
        shareable: shareable && disk.source.format === "raw",
        id: index === 0 ? "root" : `disk-${index}`,
        deviceType: disk.bus === "fdc" ? "floppy" : "disk",
        deviceName: `${PREFIXES[disk.bus]}${"abcd"[index]}`,
        ...(booted ? { bootIndex: index } : {}),
        ...(tuned === undefined ? {} : { tuning: tuned }),
        ...(tag === undefined ? {} : { tag }),
      };
    }),
  );

const nics: fc.Arbitrary<readonly GuestNic[]> = fc
  .array(
    fc.record({
      model: fc.oneof({ weight: 9, arbitrary: one("virtio" as const) }, one("e1000", "e1000e", "rtl8139", "vmxnet3")),
      backend: one<readonly GuestNic["backend"][]>(
        { type: "tap", deviceName: "t0", bridge: "br0", queues: 1 },
        { type: "tap", deviceName: "t1", queues: 2 },
        { type: "macvtap", deviceName: "m0", queues: 1 },
        { type: "vhostUser", socketPath: "/run/s", server: "hypervisor", queues: 1 },
        { type: "user", cidr: "10.1.0.0/24" },
      ),
      queues: one(1, 1, 1, 1, 2),
    }),
    { maxLength: 2 },
  )
  .map((list) =>
    list.map((nic, index) => nicOf({ ...nic, id: `nic-${index}`, macAddress: `52:54:00:00:00:0${index}` })),
  );

const hardware = some<GuestHardware>({
  cpu: one<readonly NonNullable<GuestHardware["cpu"]>[]>(
    ...CPU_MODES.map((mode) => (mode === "custom" ? { mode, model: "qemu64" } : { mode })),
    { mode: "maximum", features: [{ name: "aes", policy: "disable" }] },
    { maxVcpus: 4 },
    { numaCells: [{ vcpus: [0, 1], memoryMiB: 512, hostNodes: [0], policy: "interleave" }] },
    { pinning: { vcpus: [[0, 2], []], emulator: [5] } },
    { pinning: { vcpus: [[0], [1]] } },
  ),
  memory: one<readonly NonNullable<GuestHardware["memory"]>[]>(
    { maxMiB: 1024, slots: 2 },
    { maxMiB: 1024, hotplug: "virtio-mem" },
    { backing: "memfd", shared: true, preallocated: true },
    { backing: "hugepages", hugepageKiB: 2048, mergeable: false },
    { backing: "anonymous", locked: true },
    { backing: "file", directory: "/ram" },
  ),
  uefi: one({ secureBoot: true }, { codePath: "/c", variablesTemplatePath: "/v" }, {}),
  tpm: one({}, { model: "crb" as const }, { model: "tis" as const }),
  video: fc.record({ model: one(...VIDEO_MODELS) }),
  vnc: one(
    {},
    { address: "127.0.0.1" },
    { address: "::1", port: 5901, keymap: "de" },
    { address: "::1", passwordRequired: true },
    { address: "0.0.0.0", tlsDirectory: "/tls", verifyClients: true },
  ),
  spice: one({}, { address: "0.0.0.0", passwordRequired: true }, { agent: false }),
  extraSerialPorts: fc.nat(3),
  rng: one(false, {}, { source: "builtin" as const, maxBytes: 10 }),
  balloon: one(false, {}, { statisticsPeriodSeconds: 5, freePageReporting: true }),
  watchdog: fc.record({ model: one("i6300esb", "ib700", "itco"), action: one("reset", "none", "injectNmi") }),
  sound: fc.record({ model: one(...SOUND_MODELS) }),
  devices: one([{ type: "usbInput" as const, id: "t", model: "tablet" as const }]),
  vsock: one({ cid: 9 }),
  filesystems: one(
    [{ tag: "a", path: "/a", driver: "virtiofs" as const }],
    [{ tag: "b", path: "/b", driver: "9p" as const }],
  ),
  ioThreads: fc.nat(2),
  scsiController: one(...SCSI_CONTROLLERS),
  clock: some<NonNullable<GuestHardware["clock"]>>({
    base: one("utc", "localtime"),
    driftFix: one("slew", "none"),
    hyperv: fc.boolean(),
  }),
  smbios: fc.record({ system: fc.record({ serial: text }), oemStrings: fc.array(text, { maxLength: 2 }) }),
  onReboot: one("reset", "poweroff"),
  bootMenuMs: fc.nat(65_535),
  generationId: fc.boolean(),
});

const platform = fc.record(
  {
    guestSystem: one("linux", "windows", "other"),
    emulatorThreads: one("share", "isolate"),
    realtime: one({ vcpus: [0] }, { vcpus: [1], scheduler: "rr" as const, priority: 3 }),
    hideHypervisor: fc.boolean(),
    pmu: fc.boolean(),
    translationCacheMiB: one(64),
    statelessFirmware: fc.boolean(),
    iommu: fc.record({ model: one("intel", "virtio", "smmuv3") }),
    launchSecurity: one({ type: "sev" as const }, { type: "sev-snp" as const, policy: 0x3_0000 }),
    perfEvents: one(["cpu_clock"], ["cmt", "cmt"], ["none_such"]),
    cpuShares: one(2, 1024),
    xen: one("hvm", "pv"),
    parallels: one("vm", "ct"),
    init: one("/init", "/sbin/init"),
    idMap: one({ firstUid: 1000, firstGid: 1000, count: 10 }),
  } satisfies Partial<{ [K in keyof LibvirtPlatform]: fc.Arbitrary<LibvirtPlatform[K]> }>,
  { requiredKeys: [] },
);

/** With few choices, so that most of what is drawn can be. */
const few = <T extends object>(arbitrary: fc.Arbitrary<T>, most: number): fc.Arbitrary<T> =>
  fc.tuple(arbitrary, fc.nat(1_000_000)).map(([object, seed]) => {
    const entries = Object.entries(object);
    const kept = Array.from(
      { length: Math.min(most, entries.length) },
      (_, at) => entries[(seed + at * 7) % entries.length],
    );
    return Object.fromEntries(kept.filter((entry) => entry !== undefined)) as T;
  });

export const arbitraryPlan: fc.Arbitrary<ArbitraryPlan> = fc
  .record({
    virtType: fc.oneof({ weight: 5, arbitrary: one("qemu" as const, "kvm" as const) }, one(...VIRT_TYPES)),
    machine: one(
      ...Array<undefined>(12).fill(undefined),
      "q35" as const,
      "pc" as const,
      "virt" as const,
      "microvm" as const,
    ),
    firmware: one("bios" as const, "bios" as const, "uefi" as const),
    kernel: one(undefined, undefined, { kernelPath: "/k", commandLine: "a=<b>" }),
    disks,
    nics,
    hardware: few(hardware, 3),
    libvirt: few(platform, 1),
    metadata: fc.dictionary(text, text, { maxKeys: 2 }),
    agent: fc.boolean(),
    options: fc.record(
      {
        generationId: one(SECRET_UUID),
        nvramPath: one("/n"),
        consoleLogPath: one("/log"),
        spareRootPorts: fc.nat(4),
        machineSerial: one(false as const, "s"),
        cacheModes: one({ file: "writeback" as const }, { block: "directsync" as const, network: "unsafe" as const }),
        indirectDisks: one(["root"], []),
        cpuMode: one(...CPU_MODES),
      } satisfies Partial<{ [K in keyof DomainPlanOptions]: fc.Arbitrary<DomainPlanOptions[K]> }>,
      { requiredKeys: [] },
    ),
  })
  .map(({ virtType, machine, kernel, libvirt, agent, options, ...definition }): ArbitraryPlan => ({
    virtType,
    definition: definitionOf({
      ...definition,
      // What is UEFI's alone stands beside it.
      ...(definition.hardware.uefi === undefined ? {} : { firmware: "uefi" as const }),
      guestAgent: agent,
      ...(machine === undefined ? {} : { machine }),
      ...(kernel === undefined ? {} : { kernel }),
      platform: { libvirt: { ...libvirt } },
    }),
    options: { secretUuids: { key: SECRET_UUID }, sharedCpus: [30, 31], memoryDirectory: "/ram", ...options },
  }));

/** The same as one that a guest of another kind than QEMU's can be, as far as kinds differ at all. */
export const plainPlan: fc.Arbitrary<ArbitraryPlan> = arbitraryPlan.map(({ virtType, definition, options }) => {
  if (virtType === "kvm" || virtType === "qemu") return { virtType, definition, options };
  const { machine: _machine, kernel: _kernel, hardware: _hardware, ...rest } = definition;
  const bus = virtType === "parallels" ? "scsi" : "virtio";
  const block = { type: "block", format: "raw", path: "/dev/sdb" } as const;
  const container = definition.platform?.["libvirt"]?.["parallels"] === "ct";
  const source = container ? ({ type: "file", format: "raw", path: "/vz/root.hds" } as const) : block;
  const root = diskOf({ bus, deviceName: bus === "scsi" ? "sda" : "vda", source });
  const backend = { type: "tap", deviceName: "t0", bridge: "br0", queues: 1 } as const;
  const nics = definition.nics.map((nic) => ({ ...nic, backend, queues: 1, model: "virtio" as const }));
  return { virtType, definition: { ...rest, firmware: "bios", disks: [root], nics }, options };
});

/** What depends on the host and on the kind of guest: refused by the name of the field where it can't be, and what takes its place where nobody asked. */
import { describe, expect, it } from "vitest";
import type { GuestDefinition, GuestDisk } from "../../../../src/driver/index.js";
import { planDomain } from "../../../../src/libvirt/driver/plan/index.js";
import type {
  ChoiceFacts,
  DomainPlanOptions,
  LibvirtHostFacts,
  LibvirtPlatform,
  MachineFacts,
  VirtType,
} from "../../../../src/libvirt/driver/plan/index.js";
import { definitionOf, diskOf, factsOf, nicOf } from "./plan-cases.js";

const has = (enums: ChoiceFacts["enums"]): ChoiceFacts => ({ supported: true, enums });
const NO: ChoiceFacts = { supported: false, enums: {} };

/** A host that can do little, and says so. */
function factsWith(changes: Partial<MachineFacts>, virtType: VirtType = "kvm"): LibvirtHostFacts {
  const least = {
    ioThreads: true,
    firmwares: ["efi"],
    secureBoot: true,
    cpuModes: ["custom", "maximum"],
    cpuModels: [],
  };
  const machines = [{ machine: "pc-q35-9.2", arch: "x86_64", devices: {}, features: {}, ...least, ...changes }];
  return factsOf(virtType, { machines });
}

const onPlatform = (platform: LibvirtPlatform): Partial<GuestDefinition> => ({
  platform: { libvirt: { ...platform } as Record<string, never> },
});

function plan(changes: Partial<GuestDefinition>, facts: LibvirtHostFacts, options: DomainPlanOptions = {}) {
  return planDomain(definitionOf(changes), facts, options);
}

function refusal(field: string) {
  return expect.objectContaining({ code: "NOT_SUPPORTED", capability: `definition.${field}` }) as unknown;
}

describe("what the host says that it lacks", () => {
  it.each<[string, Partial<GuestDefinition>, Partial<MachineFacts>]>([
    ["hardware.tpm.model", { hardware: { tpm: {} } }, { devices: { tpm: has({ model: ["tpm-tis"] }) } }],
    ["hardware.tpm", { hardware: { tpm: {} } }, { devices: { tpm: has({ backendModel: ["passthrough"] }) } }],
    ["hardware.tpm", { hardware: { tpm: {} } }, { devices: { tpm: has({ backendVersion: ["1.2"] }) } }],
    [
      "hardware.rng.source",
      { hardware: { rng: { source: "builtin" } } },
      { devices: { rng: has({ backendModel: ["random"] }) } },
    ],
    [
      "hardware.video.model",
      { hardware: { video: { model: "qxl" } } },
      { devices: { video: has({ modelType: ["vga"] }) } },
    ],
    ["hardware.vnc", { hardware: { vnc: {} } }, { devices: { graphics: has({ type: ["spice"] }) } }],
    ["hardware.spice", { hardware: { spice: {} } }, { devices: { graphics: has({ type: ["vnc"] }), video: has({}) } }],
    [
      "disks[0].bus",
      { disks: [diskOf({ bus: "usb", deviceName: "sda" })] },
      { devices: { disk: has({ bus: ["virtio"] }) } },
    ],
    [
      "hardware.filesystems[0].driver",
      { hardware: { filesystems: [{ tag: "a", path: "/a", driver: "virtiofs" }] } },
      { devices: { filesystem: has({ driverType: ["path"] }) } },
    ],
    ["hardware.memory.backing", { hardware: { memory: { backing: "memfd" } } }, { memorySources: ["file"] }],
    ["hardware.uefi.secureBoot", { firmware: "uefi", hardware: { uefi: { secureBoot: true } } }, { secureBoot: false }],
    ["firmware", { firmware: "uefi" }, { firmwares: [] }],
    ["hardware.generationId", { hardware: { generationId: true } }, { features: { genid: NO } }],
    ["hardware.clock.hyperv", { hardware: { clock: { hyperv: true } } }, { features: { hyperv: NO } }],
    ["hardware.vsock", { hardware: { vsock: { cid: 5 } } }, { features: { vsock: NO } }],
    [
      "platform.libvirt.launchSecurity",
      { firmware: "uefi", ...onPlatform({ launchSecurity: { type: "sev" } }) },
      { features: { sev: NO } },
    ],
    [
      "platform.libvirt.launchSecurity",
      { firmware: "uefi", ...onPlatform({ launchSecurity: { type: "sev-snp" } }) },
      { features: { launchSecurity: has({ sectype: ["sev"] }) } },
    ],
    ["hardware.ioThreads", { hardware: { ioThreads: 1 } }, { ioThreads: false }],
    ["hardware.cpu.mode", { hardware: { cpu: { mode: "hostModel" } } }, {}],
  ])("%s is refused", (field, changes, facts) => {
    expect(() => plan(changes, factsWith(facts))).toThrow(refusal(field));
  });

  it("is left out where nobody asked for it", () => {
    const poor = factsWith({
      devices: { rng: has({ backendModel: [] }) },
      features: { genid: NO, hyperv: NO, vmcoreinfo: NO },
    });
    const domain = plan(onPlatform({ guestSystem: "windows" }), poor);
    expect(domain.devices?.rng).toBeUndefined();
    expect(domain.genid).toBeUndefined();
    expect(domain.features?.hyperv).toBeUndefined();
    expect(domain.clock).toMatchObject({ offset: "localtime" });
    expect(domain.cpu?.mode).toBeUndefined();
  });

  it("is refused by release and by the host's CPU, nodes and huge pages", () => {
    const old = factsOf("kvm", { libvirtVersion: 9_000_000 });
    const watchdog = { hardware: { watchdog: { model: "itco", action: "reset" } } } as const;
    expect(() => plan(watchdog, old)).toThrow(refusal("hardware.watchdog.model"));
    const snp = { firmware: "uefi", ...onPlatform({ launchSecurity: { type: "sev-snp" } }) } as const;
    expect(() => plan(snp, old)).toThrow(refusal("platform.libvirt.launchSecurity"));
    const readOnly = [{ tag: "a", path: "/a", driver: "virtiofs", readOnly: true }] as const;
    expect(() => plan({ hardware: { filesystems: readOnly } }, old)).toThrow(
      refusal("hardware.filesystems[0].readOnly"),
    );
    const bare = factsOf("kvm", { cpuFeatures: ["aes"], hugepagesKiB: [], numaNodes: [0] });
    const monitors = onPlatform({ perfEvents: ["cpu_clock", "mbmt"] });
    expect(() => plan(monitors, bare)).toThrow(refusal("platform.libvirt.perfEvents[1]"));
    const huge = { hardware: { memory: { backing: "hugepages" } } } as const;
    expect(() => plan(huge, bare)).toThrow(refusal("hardware.memory.backing"));
    const cells = { hardware: { cpu: { numaCells: [{ vcpus: [0, 1], memoryMiB: 512, hostNodes: [1] }] } } };
    expect(() => plan(cells, bare)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field: "definition.hardware.cpu.numaCells[0].hostNodes" }),
    );
  });
});

describe("what only some kinds of guests have", () => {
  it.each<[string, VirtType, Partial<GuestDefinition>]>([
    ["platform.libvirt.hideHypervisor", "qemu", onPlatform({ hideHypervisor: true })],
    ["platform.libvirt.pmu", "qemu", onPlatform({ pmu: true })],
    ["platform.libvirt.translationCacheMiB", "kvm", onPlatform({ translationCacheMiB: 5 })],
    ["platform.libvirt.translationCacheMiB", "lxc", onPlatform({ translationCacheMiB: 5 })],
    ["platform.libvirt.realtime", "xen", onPlatform({ realtime: { vcpus: [0] } })],
    ["platform.libvirt.emulatorThreads", "lxc", onPlatform({ emulatorThreads: "share" })],
    ["platform.libvirt.perfEvents", "xen", onPlatform({ perfEvents: ["cmt"] })],
    ["hardware.vnc", "xen", { hardware: { vnc: {} } }],
    ["hardware.vnc.passwordRequired", "xen", { hardware: { vnc: { address: "::1", passwordRequired: true } } }],
    ["disks[0].readOnly", "qemu", { disks: [diskOf({ bus: "sata", deviceName: "sda", readOnly: true })] }],
    ["disks[0].bus", "qemu", { disks: [diskOf({ bus: "ide", deviceName: "hda" })] }],
    ["disks[0].bus", "parallels", {}],
    ["disks[0].source.format", "uml", {}],
    ["kernel", "parallels", { ...onPlatform({ parallels: "ct" }), kernel: { kernelPath: "/k" } }],
    ["platform.libvirt.init", "parallels", onPlatform({ parallels: "ct", init: "/init" })],
    ["hardware.cpu.pinning", "parallels", { hardware: { cpu: { pinning: { vcpus: [[0]] } } } }],
    ["platform.libvirt.cpuShares", "parallels", onPlatform({ cpuShares: 5 })],
  ])("%s is refused to %s", (field, virtType, changes) => {
    expect(() => plan(changes, factsOf(virtType))).toThrow(refusal(field));
  });

  it("contradicts itself: SEV with hashes of no kernel, secure boot that keeps nothing, real time without pins", () => {
    const invalid = (field: string) =>
      expect.objectContaining({ code: "INVALID_ARGUMENT", field: `definition.${field}` }) as unknown;
    const kvm = factsOf("kvm");
    const sev = onPlatform({ launchSecurity: { type: "sev", kernelHashes: true } });
    expect(() => plan({ firmware: "uefi", ...sev }, kvm)).toThrow(
      invalid("platform.libvirt.launchSecurity.kernelHashes"),
    );
    const stateless = onPlatform({ statelessFirmware: true });
    expect(() => plan(stateless, kvm)).toThrow(invalid("platform.libvirt.statelessFirmware"));
    const secure = { firmware: "uefi", hardware: { uefi: { secureBoot: true } }, ...stateless } as const;
    expect(() => plan(secure, kvm)).toThrow(invalid("platform.libvirt.statelessFirmware"));
    const realtime = onPlatform({ realtime: { vcpus: [1] } });
    expect(() => plan(realtime, kvm)).toThrow(invalid("platform.libvirt.realtime.vcpus[0]"));
    const isolated = {
      hardware: { cpu: { pinning: { vcpus: [[0]] } } },
      ...onPlatform({ emulatorThreads: "isolate" }),
    };
    expect(() => plan(isolated, kvm, { sharedCpus: [0] })).toThrow(invalid("platform.libvirt.emulatorThreads"));
    const nics = [nicOf({ backend: { type: "vhostUser", socketPath: "/s", server: "switch", queues: 1 } })];
    expect(() => plan({ nics, hardware: { memory: { backing: "anonymous" } } }, kvm)).toThrow(
      invalid("hardware.memory.backing"),
    );
    const floppies = [diskOf({ bus: "fdc", deviceType: "floppy", deviceName: "fdc" })];
    expect(() => plan({ disks: floppies }, kvm)).toThrow(invalid("disks[0].deviceName"));
  });
});

describe("what nobody says", () => {
  it("is decided by what is in the guest", () => {
    const timers = (system: "linux" | "windows" | "other", virtType: VirtType) =>
      plan(onPlatform({ guestSystem: system }), factsOf(virtType)).clock?.timer?.map(({ name, present }) => [
        name,
        present,
      ]);
    expect(timers("windows", "kvm")).toEqual(
      expect.arrayContaining([
        ["hypervclock", "yes"],
        ["kvmclock", "no"],
      ]),
    );
    expect(timers("linux", "kvm")).toContainEqual(["kvmclock", "yes"]);
    for (const system of ["linux", "windows", "other"] as const)
      expect(timers(system, "qemu")?.map(([name]) => name)).toEqual(["rtc", "pit", "hpet"]);
    const clock = { clock: { base: "utc", hyperv: false } } as const;
    const windows = plan({ hardware: clock, ...onPlatform({ guestSystem: "windows" }) }, factsOf("kvm"));
    expect(windows).toMatchObject({ clock: { offset: "utc" } });
    expect(windows.features?.hyperv).toBeUndefined();
  });

  it("keeps a guest's other threads on the CPUs of its vCPUs, or off them", () => {
    const pins = { hardware: { cpu: { pinning: { vcpus: [[2], [4, 5]] } } } };
    const emulator = (platform: LibvirtPlatform, options: DomainPlanOptions = {}) =>
      plan({ ...pins, ...onPlatform(platform) }, factsOf("kvm"), options).cputune?.emulatorpin?.cpuset;
    expect(emulator({})).toBe("2,4-5");
    expect(emulator({ emulatorThreads: "isolate" }, { sharedCpus: [0, 1, 2] })).toBe("0-1");
    expect(plan({}, factsOf("kvm")).cputune).toBeUndefined();
  });

  it("opens disks by where they are, what several write past every cache, and what can't be opened so through it", () => {
    const cache = (disk: Partial<GuestDisk>, options: DomainPlanOptions) =>
      plan({ disks: [diskOf(disk)] }, factsOf("qemu"), options).devices?.disk?.[0]?.driver?.cache;
    const cacheModes = { file: "unsafe", block: "directsync", network: "writeback" } as const;
    const raw = { type: "file", format: "raw", path: "/a" } as const;
    expect(cache({}, { cacheModes })).toBe("unsafe");
    expect(cache({ source: { type: "block", format: "raw", path: "/dev/sdb" } }, { cacheModes })).toBe("directsync");
    expect(cache({ tuning: { cache: "none" } }, { cacheModes })).toBe("none");
    expect(cache({ source: raw, shareable: true }, { cacheModes, indirectDisks: ["root"] })).toBe("none");
    expect(cache({}, { indirectDisks: ["root"] })).toBe("writethrough");
    expect(cache({}, { indirectDisks: ["root"], cacheModes: { file: "directsync" } })).toBe("writethrough");
    expect(cache({ source: raw }, { indirectDisks: ["other"] })).toBe("none");
    const native = { tuning: { cache: "none", aio: "native" } } as const;
    expect(() => cache(native, { indirectDisks: ["root"] })).toThrow(refusal("disks[0].tuning.aio"));
  });
});

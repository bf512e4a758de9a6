/** Guests with what only libvirt knows of, and with every value of what has a few. */
import type { GuestDefinition, GuestHardware } from "../../../../src/driver/index.js";
import type { LibvirtPlatform } from "../../../../src/libvirt/driver/plan/index.js";
import { definitionOf, diskOf, nicOf, second, withHardware } from "./plan-parts.js";
import type { PlanCase } from "./plan-parts.js";

const qemu = (name: string, definition: GuestDefinition, more: Partial<PlanCase> = {}): PlanCase => ({
  name,
  virtType: "qemu",
  definition,
  ...more,
});

const withPlatform = (platform: LibvirtPlatform, changes: Partial<GuestDefinition> = {}): GuestDefinition =>
  definitionOf({ ...changes, platform: { libvirt: { ...platform } as Record<string, never> } });

const pinned: GuestHardware = { cpu: { pinning: { vcpus: [[0], [1]] } } };

export const PLATFORM_CASES: readonly PlanCase[] = [
  qemu("a virtual IOMMU", withPlatform({ iommu: { model: "virtio" } })),
  qemu("what Windows wants, without KVM", withPlatform({ guestSystem: "windows" })),
  qemu("emulator threads on other CPUs", withPlatform({ emulatorThreads: "isolate" }, { hardware: pinned }), {
    options: { sharedCpus: [0, 1, 2] },
  }),
  qemu("emulator threads with the vCPUs", withPlatform({ emulatorThreads: "share" }, { hardware: pinned })),
  qemu(
    "vCPUs that come before all else",
    withPlatform({ realtime: { vcpus: [1], scheduler: "rr", priority: 5 } }, { hardware: pinned }),
  ),
  qemu("a large cache for translated code", withPlatform({ translationCacheMiB: 256 })),
  qemu("firmware that keeps nothing", withPlatform({ statelessFirmware: true }, { firmware: "uefi" })),
  qemu("a perf event of each sort", withPlatform({ perfEvents: ["cpu_clock", "page_faults_min", "mbml"] }), {
    schemaOnly: true,
  }),
  qemu(
    "memory on a switch in user space and on nodes",
    withHardware(
      { cpu: { numaCells: [{ vcpus: [0, 1], memoryMiB: 512 }] } },
      { nics: [nicOf({ backend: { type: "vhostUser", socketPath: "/run/s", server: "switch", queues: 1 } })] },
    ),
  ),
  qemu(
    "cache modes by where disks are",
    definitionOf({
      disks: [
        diskOf(),
        second({ id: "b", deviceName: "vdb", source: { type: "block", format: "raw", path: "/dev/loop7" } }),
        second({
          id: "c",
          deviceName: "vdc",
          source: { type: "rbd", format: "raw", pool: "p", image: "i", monitors: [{ host: "192.0.2.1", port: 6789 }] },
        }),
      ],
    }),
    { options: { cacheModes: { file: "writeback", block: "directsync", network: "unsafe" }, machineSerial: false } },
  ),
  qemu("a disk that can't be opened directly", definitionOf(), { options: { indirectDisks: ["root"] } }),
  qemu(
    "a watchdog of the chip set",
    withHardware({ watchdog: { model: "itco", action: "pause" } }, { machine: "q35" }),
    { schemaOnly: true, since: 9_001_000 },
  ),
  ...(["reset", "shutdown", "poweroff", "pause", "injectNmi", "none"] as const).map((action) =>
    qemu(`a watchdog that does ${action}`, withHardware({ watchdog: { model: "i6300esb", action } })),
  ),
  ...(["ich6", "ac97", "es1370", "sb16", "usb"] as const).map((model) =>
    qemu(`sound by ${model}`, withHardware({ sound: { model, backend: "spice" }, spice: {} })),
  ),
  ...(["vga", "virtio", "bochs", "cirrus", "ramfb"] as const).map((model) =>
    qemu(`pictures by ${model}`, withHardware({ video: { model }, vnc: { address: "0.0.0.0" } })),
  ),
  ...(["/dev/urandom", "/dev/random", "builtin"] as const).map((source) =>
    qemu(`random numbers from ${source}`, withHardware({ rng: { source } })),
  ),
  qemu(
    "a PCI function of the host",
    withHardware({ devices: [{ type: "pciHost", id: "g", address: "0000:3b:00.0" }] }),
    {
      schemaOnly: true,
    },
  ),
];

/** Sets of capabilities that stand for kinds of hypervisors. */
import { HYPERVISOR_FEATURES } from "../driver/index.js";
import type { HypervisorFeature } from "../driver/index.js";
import { FULL_MACHINE } from "./check-definition.js";
import type { MachineLimits } from "./check-definition.js";

export interface FakePreset {
  readonly features: ReadonlySet<HypervisorFeature>;
  readonly limits: MachineLimits;
}

function without(...missing: readonly HypervisorFeature[]): ReadonlySet<HypervisorFeature> {
  return new Set(HYPERVISOR_FEATURES.filter((feature) => !missing.includes(feature)));
}

export const FAKE_PRESETS = {
  /** Everything that there is. */
  full: { features: without(), limits: FULL_MACHINE },
  /** QEMU/KVM behind libvirt. */
  libvirtKvm: { features: without("injectAtSpawn", "template"), limits: { ...FULL_MACHINE, maxVcpus: 710 } },
  /** QEMU driven directly, as `KvmDriver` does. */
  kvm: {
    features: without("injectAtSpawn", "compareCpu"),
    limits: { ...FULL_MACHINE, machines: ["q35", "pc", "microvm", "virt"], firmwares: ["bios"], maxVcpus: 288 },
  },
  /** Containers behind libvirt: no kernel, display, firmware, block jobs or migration of their own. */
  lxc: {
    features: new Set<HypervisorFeature>([
      ...(["pause", "redefine", "hotplugDisk", "hotplugNic", "consoleStream", "statistics"] as const),
      "hostCpuStatistics",
    ]),
    limits: { machines: [], firmwares: ["bios"], buses: ["virtio"], kernels: false, maxVcpus: 1024 },
  },
  /** What every driver has, and nothing else. */
  minimal: { features: new Set<HypervisorFeature>(), limits: FULL_MACHINE },
} as const satisfies Record<string, FakePreset>;

export type FakePresetName = keyof typeof FAKE_PRESETS;

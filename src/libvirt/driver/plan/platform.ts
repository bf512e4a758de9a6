/** What only libvirt knows of: `platform.libvirt` of a spec. */
import { check } from "../../../core/index.js";
import type { Check, JsonObject } from "../../../core/index.js";
import { filePathCheck } from "../../../hypervisor/index.js";

export const IOMMU_MODELS = ["intel", "virtio", "smmuv3"] as const;

/** A memory of the guest's that the host can't read. */
export interface LaunchSecurity {
  readonly type: "sev" | "sev-snp";
  /** The guest's policy; default: 0x33 for SEV, 0x30000 for SEV-SNP. */
  readonly policy?: number;
  /** Kernel, initial RAM disk and command line are measured too. With a kernel. */
  readonly kernelHashes?: boolean;
}

export const GUEST_SYSTEMS = ["linux", "windows", "other"] as const;
/** What is installed in the guest, as far as its clock and its hypervisor's interfaces depend on it. */
export type GuestSystem = (typeof GUEST_SYSTEMS)[number];

/** vCPUs that the host's scheduler always prefers. Each of them is pinned. */
export interface RealtimeVcpus {
  /** By their numbers, from 0. */
  readonly vcpus: readonly number[];
  /** Default `fifo`. */
  readonly scheduler?: "fifo" | "rr";
  /** 1 to 99. Default 1. */
  readonly priority?: number;
}

/** An operator's choices for a guest under libvirt. */
export interface LibvirtPlatform {
  /**
   * Default `other`. `windows`: a clock in local time, and under KVM what Windows wants of a hypervisor, as far as the host has it. `linux`: under KVM the host's own clock.
   * `hardware.clock` has the last word.
   */
  readonly guestSystem?: GuestSystem;
  /** The administrator's name in the guest, for `setAdminPassword`. Default `root`, with `guestSystem` `windows` `Administrator`. */
  readonly adminUser?: string;
  /**
   * Where threads run that are neither vCPUs nor I/O threads, unless `hardware.cpu.pinning.emulator` says. `share` (default): on the CPUs of pinned vCPUs. `isolate`: on others than those,
   * which `domainDefaults.sharedCpus` names.
   */
  readonly emulatorThreads?: "share" | "isolate";
  readonly realtime?: RealtimeVcpus;
  /** The guest is not told that it runs under KVM. */
  readonly hideHypervisor?: boolean;
  /** Whether the guest has counters of its CPU's events. Default: the CPU model's own. */
  readonly pmu?: boolean;
  /** Memory for translated code, MiB: 1 to 65536. Under emulation. */
  readonly translationCacheMiB?: number;
  /** Firmware keeps nothing: without variables of its own. With firmware `uefi` of the host's own. */
  readonly statelessFirmware?: boolean;
  /** An IOMMU for the guest. */
  readonly iommu?: { readonly model: (typeof IOMMU_MODELS)[number] };
  readonly launchSecurity?: LaunchSecurity;
  /** Names of perf events that are counted: `cmt`, `cpu_cycles`. */
  readonly perfEvents?: readonly string[];
  /** The guest's weight among others, 2 to 262144. */
  readonly cpuShares?: number;
  /** Microseconds of host CPU a vCPU may have in each period; both or none. */
  readonly cpuQuota?: number;
  readonly cpuPeriod?: number;
  /** Of Virtuozzo's guests: virtual machines (default), or containers. */
  readonly parallels?: "vm" | "ct";
  /** Of Xen guests: fully virtual (default), or paravirtual. */
  readonly xen?: "hvm" | "pv";
  /** Of containers: the first program. Default `/sbin/init`. */
  readonly init?: string;
  /** Of containers: ids of the host that users and groups of the container are; all from 0 on. */
  readonly idMap?: { readonly firstUid: number; readonly firstGid: number; readonly count: number };
}

const word = check.string({ max: 64, pattern: /^[a-z][a-z0-9_]*$/, expected: "the name of a perf event" });
const hostId = check.integer({ min: 1, max: 4_294_967_294 });

const platformCheck: Check<LibvirtPlatform> = check.object({
  guestSystem: check.optional(check.oneOf(GUEST_SYSTEMS)),
  adminUser: check.optional(
    check.string({ min: 1, max: 64, pattern: /^[A-Za-z0-9_][A-Za-z0-9._-]*$/, expected: "a user name" }),
  ),
  emulatorThreads: check.optional(check.oneOf(["share", "isolate"])),
  realtime: check.optional(
    check.object({
      vcpus: check.array(check.integer({ min: 0, max: 1023 }), { min: 1, max: 1024 }),
      scheduler: check.optional(check.oneOf(["fifo", "rr"])),
      priority: check.optional(check.integer({ min: 1, max: 99 })),
    }),
  ),
  hideHypervisor: check.optional(check.boolean()),
  pmu: check.optional(check.boolean()),
  translationCacheMiB: check.optional(check.integer({ min: 1, max: 65_536 })),
  statelessFirmware: check.optional(check.boolean()),
  parallels: check.optional(check.oneOf(["vm", "ct"])),
  iommu: check.optional(check.object({ model: check.oneOf(IOMMU_MODELS) })),
  launchSecurity: check.optional(
    check.object({
      type: check.oneOf(["sev", "sev-snp"]),
      policy: check.optional(check.integer({ min: 0, max: 0xff_ffff_ffff })),
      kernelHashes: check.optional(check.boolean()),
    }),
  ),
  perfEvents: check.optional(check.array(word, { max: 64 })),
  cpuShares: check.optional(check.integer({ min: 2, max: 262_144 })),
  cpuQuota: check.optional(check.integer({ min: 1000, max: 17_592_186_044_415 })),
  cpuPeriod: check.optional(check.integer({ min: 1000, max: 1_000_000 })),
  xen: check.optional(check.oneOf(["hvm", "pv"])),
  init: check.optional(filePathCheck),
  idMap: check.optional(
    check.object({ firstUid: hostId, firstGid: hostId, count: check.integer({ min: 1, max: 4_294_967_294 }) }),
  ),
});

/** @throws InvalidArgumentError that names the field */
export function libvirtPlatform(platform: Readonly<Record<string, JsonObject>> | undefined): LibvirtPlatform {
  return platformCheck(platform?.["libvirt"] ?? {}, "definition.platform.libvirt");
}

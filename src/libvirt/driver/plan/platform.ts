/** What only libvirt knows of: `platform.libvirt` of a spec. */
import { check } from "../../../core/index.js";
import type { Check, JsonObject } from "../../../core/index.js";
import { filePathCheck } from "./check-definition.js";

export const IOMMU_MODELS = ["intel", "virtio", "smmuv3"] as const;

/** A memory of the guest's that the host can't read. */
export interface LaunchSecurity {
  readonly type: "sev" | "sev-snp";
  /** The guest's policy; default: 0x33 for SEV, 0x30000 for SEV-SNP. */
  readonly policy?: number;
  /** Kernel, initial RAM disk and command line are measured too. With a kernel. */
  readonly kernelHashes?: boolean;
}

/** An operator's choices for a guest under libvirt. */
export interface LibvirtPlatform {
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

/** What the host's CPUs have done. */
import type { CommonOptions } from "../../../core/index.js";
import type { HostCpuStatistics } from "../../../driver/index.js";
import { asDriverErrors } from "../errors.js";
import type { LibvirtHost } from "../host.js";

/** libvirt's number for all CPUs together. */
const ALL_CPUS = -1;

/** `virNodeGetCPUStats` and `virNodeGetInfo`: times since the host booted. */
export function readHostCpuStatistics(
  { client, timeouts }: LibvirtHost,
  { signal, deadline = timeouts.queryMs }: CommonOptions,
): Promise<HostCpuStatistics> {
  const limits = { signal, deadlineMs: Math.min(deadline, timeouts.queryMs) };
  return asDriverErrors({ operation: "hostCpuStatistics" }, async () => {
    const [times, { mhz }] = await Promise.all([client.nodeGetCpuStats(ALL_CPUS, limits), client.nodeGetInfo(limits)]);
    const nanoseconds = (name: string): bigint => {
      const value = times[name];
      return typeof value === "bigint" ? value : 0n;
    };
    return {
      kernelNs: nanoseconds("kernel"),
      idleNs: nanoseconds("idle"),
      userNs: nanoseconds("user"),
      ioWaitNs: nanoseconds("iowait"),
      frequencyMHz: mhz,
    };
  });
}

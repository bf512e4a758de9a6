/** What else a driver knows of its host. */
import type { CommonOptions } from "../../core/index.js";
import type { CpuModel, HostCpuStatistics } from "../host-facts.js";

export interface HostCpuStatisticsFacet {
  /** (Nova's `get_host_cpu_stats`.) */
  getHostCpuStats(options?: CommonOptions): Promise<HostCpuStatistics>;
}

/** `incompatible`: a guest with this CPU can't run here. `identical`, `superset`: it can (libvirt's 0, 1, 2). */
export type CpuComparison = "incompatible" | "identical" | "superset";

export interface CompareCpuFacet {
  compareCpu(cpu: CpuModel, options?: CommonOptions): Promise<CpuComparison>;
}

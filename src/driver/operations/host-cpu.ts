/** The CPU of the host. */
import { check, NotSupportedError } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import type { CpuComparison } from "../facets/host.js";
import type { CpuModel, HostCpuStatistics } from "../host-facts.js";
import type { HostContext } from "../host-context.js";
import { runQuery } from "../run-operation.js";

const word = check.string({ min: 1, max: 128, charset: "printable" });
const count = check.integer({ min: 1, max: 65_536 });

/** A CPU model as it comes from another host: not trusted. */
export const checkCpuModel = check.object({
  arch: word,
  vendor: check.optional(word),
  model: check.optional(word),
  topology: check.object({ sockets: count, cores: count, threads: count }),
  features: check.array(word, { max: 4096 }),
});

export function getHostCpuStats(host: HostContext, options?: CommonOptions): Promise<HostCpuStatistics> {
  return runQuery(host, "getHostCpuStats", options, (signal) => {
    const { hypervisor } = host;
    if (hypervisor.hostCpuStatistics === undefined) throw new NotSupportedError({ capability: "hostCpuStatistics" });
    return hypervisor.hostCpuStatistics({ signal });
  });
}

export function compareCpu(host: HostContext, cpu: CpuModel, options?: CommonOptions): Promise<CpuComparison> {
  return runQuery(host, "compareCpu", options, (signal) => {
    const { hypervisor } = host;
    if (hypervisor.compareCpu === undefined) throw new NotSupportedError({ capability: "compareCpu" });
    return hypervisor.compareCpu(checkCpuModel(cpu, "cpu"), { signal });
  });
}

/** Whether a guest that has another host's CPU could run here. */
import type { CommonOptions } from "../../../core/index.js";
import type { CpuComparison, CpuModel } from "../../../driver/index.js";
import { CpuCompareResult, ErrorDomain, ErrorNumber, LibvirtError } from "../../rpc/index.js";
import { formatCpuXml } from "../../xml/index.js";
import type { CpuXml } from "../../xml/index.js";
import { asDriverErrors } from "../errors.js";
import type { LibvirtHost } from "../host.js";

/** `virCPUCompareResult`. */
const RESULTS: readonly CpuComparison[] = ["incompatible", "identical", "superset"];

/** The element by which libvirt knows a host's CPU. Pure. */
export function hostCpuXml({ arch, vendor, model, topology, features }: CpuModel): CpuXml {
  return {
    arch,
    ...(model === undefined ? {} : { model: { $text: model } }),
    ...(vendor === undefined ? {} : { vendor }),
    topology,
    feature: [...new Set(features)].map((name) => ({ name })),
  };
}

/**
 * `virConnectCompareCPU`. Without the host's help QEMU makes up the whole CPU, so that no more than the architecture counts; the same where another host has not said what its CPU is.
 * @throws HypervisorUnavailableError, DeadlineExceededError, AbortedError
 */
export async function compareCpu(
  host: LibvirtHost,
  cpu: CpuModel,
  { signal, deadline }: CommonOptions,
): Promise<CpuComparison> {
  const { client, facts, timeouts } = host;
  if (cpu.arch !== facts.arch) return "incompatible";
  if (facts.virtType !== "kvm" || cpu.model === undefined) return "identical";
  const limits = { signal, deadlineMs: deadline ?? timeouts.callMs };
  const result = await asDriverErrors({ operation: "compareCpu" }, () =>
    orUnknown(client.compareCpu(formatCpuXml(hostCpuXml(cpu)), limits)),
  );
  return RESULTS[result] ?? "incompatible";
}

/** What libvirt has compared. A CPU that its own part for CPUs does not know is incompatible; where libvirt does not compare CPUs of the architecture, QEMU finds out. */
export async function orUnknown(comparing: Promise<number>): Promise<number> {
  try {
    return await comparing;
  } catch (error) {
    if (!(error instanceof LibvirtError)) throw error;
    if (error.libvirtCode === ErrorNumber.noSupport) return CpuCompareResult.superset;
    if (error.domain === ErrorDomain.cpu) return CpuCompareResult.incompatible;
    throw error;
  }
}

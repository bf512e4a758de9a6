/** Whether a guest that has another host's CPU could run here. */
import { isHyperviseError } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import type { CpuComparison, CpuModel } from "../../../driver/index.js";
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
    feature: features.map((name) => ({ name })),
  };
}

/**
 * `virConnectCompareCPU`. Without the host's help QEMU makes up the whole CPU, so that no more than the architecture counts; the same where another host has not said what its CPU is.
 * @throws what libvirt answers to a CPU that it does not know
 */
export async function compareCpu(
  host: LibvirtHost,
  cpu: CpuModel,
  { signal, deadline }: CommonOptions,
): Promise<CpuComparison> {
  const { client, facts, timeouts } = host;
  if (cpu.arch !== facts.arch) return "incompatible";
  if (facts.virtType !== "kvm" || cpu.model === undefined) return "identical";
  try {
    const result = await asDriverErrors({ operation: "compareCpu" }, () =>
      client.compareCpu(formatCpuXml(hostCpuXml(cpu)), { signal, deadlineMs: deadline ?? timeouts.callMs }),
    );
    return RESULTS[result] ?? "incompatible";
  } catch (error) {
    // It says so of CPUs of whose kind it has none.
    if (isHyperviseError(error, "NOT_SUPPORTED")) return "incompatible";
    throw error;
  }
}

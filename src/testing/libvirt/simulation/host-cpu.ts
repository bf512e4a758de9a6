/** The processor of a simulated host. */
import type { SimulatedHardware } from "./host-state.js";

/** Models that its QEMU can give to guests; each can do what those before it can. */
const MODELS = ["qemu64", "Nehalem", "Westmere", "SandyBridge", "IvyBridge", "Haswell", "Broadwell", "Skylake-Client"];
const FEATURES = ["vme", "ss", "vmx", "hypervisor", "arat", "tsc_adjust", "umip", "stibp", "pdpe1gb", "invtsc"];

export interface HostCpu {
  readonly model: string;
  readonly vendor: string;
  readonly features: readonly string[];
}

export function hostCpu({ cpuModel }: SimulatedHardware): HostCpu {
  return { model: cpuModel, vendor: "Intel", features: FEATURES };
}

export function getCpuModels(): string[] {
  return [...MODELS];
}

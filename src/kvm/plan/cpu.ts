/** The guest's CPU and how its vCPUs are arranged. Pure. */
import type { CpuMode, CpuTopology, GuestDefinition } from "../../driver/index.js";

/** What a QEMU can give guests as CPUs under one accelerator on this host, as it says itself. */
export interface CpuCapabilities {
  /** `runnable`: this host and accelerator have all that the model has. */
  readonly models: readonly { readonly name: string; readonly runnable: boolean }[];
  /** The runnable named model with most of what the host has; absent where none is. */
  readonly nearest?: string;
  /** Features that can be switched on. Empty where QEMU does not tell. */
  readonly features: readonly string[];
}

export interface CpuRequest {
  readonly definition: Pick<GuestDefinition, "hardware">;
  /** The host's own choice, for guests that make none. */
  readonly cpuModel: string;
  readonly cpu?: CpuCapabilities | undefined;
}

/** Most vCPUs that the guest may have. */
export function maxVcpus({ vcpus, hardware }: Pick<GuestDefinition, "vcpus" | "hardware">): number {
  return Math.max(vcpus, hardware?.cpu?.maxVcpus ?? vcpus);
}

/** Sockets, cores and threads of all vCPUs that the guest may have: what is given while it runs comes in sockets. */
export function topologyOf(definition: Pick<GuestDefinition, "vcpus" | "hardware" | "cpuTopology">): CpuTopology {
  const { cores = 1, threads = 1 } = definition.cpuTopology ?? {};
  return { sockets: Math.ceil(maxVcpus(definition) / (cores * threads)), cores, threads };
}

/** `-smp`'s value. */
export function smp(definition: Pick<GuestDefinition, "vcpus" | "hardware" | "cpuTopology">): string {
  const { vcpus } = definition;
  const most = maxVcpus(definition);
  const { sockets, cores, threads } = topologyOf(definition);
  return `cpus=${vcpus}${most > vcpus ? `,maxcpus=${most}` : ""},sockets=${sockets},cores=${cores},threads=${threads}`;
}

/** Things that Windows asks a hypervisor for, which KVM has. */
const HYPERV = ["relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "time", "frequencies"] as const;

/** `-cpu`'s value. */
export function cpuOption(request: CpuRequest): string {
  const { cpu = {}, clock } = request.definition.hardware ?? {};
  const features = (cpu.features ?? []).map(({ name, policy }) => `${name}=${policy === "require" ? "on" : "off"}`);
  const hyperv = clock?.hyperv === true ? [...HYPERV.map((name) => `hv-${name}=on`), "hv-spinlocks=0x1fff"] : [];
  return [modelOf(cpu.mode, cpu.model, request), ...features, ...hyperv].join(",");
}

function modelOf(mode: CpuMode | undefined, model: string | undefined, { cpuModel, cpu }: CpuRequest): string {
  switch (mode) {
    case undefined:
      return cpuModel;
    case "hostPassthrough":
      return "host";
    case "maximum":
      return "max";
    case "hostModel":
      return cpu?.nearest ?? cpuModel;
    case "custom":
      return model ?? cpuModel;
  }
}

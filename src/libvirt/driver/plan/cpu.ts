/** The guest's CPU: mode, model, features, how vCPUs are arranged, and which CPUs of the host they run on. Pure. */
import type { CpuMode, GuestNumaCell } from "../../../driver/index.js";
import type { DomainXml, LibvirtXml } from "../../xml/index.js";
import { defined } from "./defined.js";
import { cpuSetText } from "./cpu-set.js";
import { needsSharedMemory } from "./memory.js";
import type { PlanContext } from "./plan-context.js";
import { invalid, unsupported } from "./refuse.js";

const KIB_PER_MIB = 1024;
const MODES: { readonly [M in CpuMode]: string } = {
  hostPassthrough: "host-passthrough",
  hostModel: "host-model",
  maximum: "maximum",
  custom: "custom",
};

type CpuParts = Pick<DomainXml, "vcpu" | "cpu" | "cputune" | "iothreads">;

/** vCPUs, pins and weights, which guests of all kinds have; the model is QEMU's alone. */
export function planCpu(context: PlanContext): CpuParts {
  const { definition, hardware, family } = context;
  const most = maxVcpus(context);
  checkCount(context, most);
  const { ioThreads = 0 } = hardware;
  return defined<CpuParts>({
    vcpu: defined<LibvirtXml.DomainVcpu>({
      placement: "static",
      current: most > definition.vcpus ? definition.vcpus : undefined,
      $text: most,
    }),
    iothreads: ioThreads > 0 ? ioThreads : undefined,
    cputune: tuning(context),
    cpu: family === "qemu" ? model(context, most) : undefined,
  });
}

function maxVcpus({ definition, hardware }: PlanContext): number {
  return Math.max(definition.vcpus, hardware.cpu?.maxVcpus ?? definition.vcpus);
}

function checkCount({ facts, hardware }: PlanContext, most: number): void {
  if (facts?.maxVcpus !== undefined && most > facts.maxVcpus)
    throw invalid("vcpus", most, `at most ${facts.maxVcpus} on this machine`);
  if ((hardware.ioThreads ?? 0) > 0 && facts?.ioThreads === false)
    throw unsupported("hardware.ioThreads", "this host's hypervisor has no I/O threads");
}

function model(context: PlanContext, most: number): LibvirtXml.DomainCpu {
  const { definition, hardware } = context;
  const { cores = 1, threads = 1 } = definition.cpuTopology ?? {};
  const { features = [] } = hardware.cpu ?? {};
  const mode = modeOf(context);
  const cells = cellsOf(context, most);
  if (features.length > 0 && mode === undefined)
    throw unsupported("hardware.cpu.features", "there is no CPU model that they could be changed of");
  return defined<LibvirtXml.DomainCpu>({
    mode: mode === undefined ? undefined : MODES[mode],
    check: mode === "custom" || mode === "hostModel" ? "partial" : undefined,
    ...(mode === "custom" ? namedModel(context) : {}),
    topology: { sockets: Math.ceil(most / (cores * threads)), dies: 1, cores, threads },
    feature: features.length === 0 ? undefined : features.map(({ name, policy }) => ({ policy, name })),
    numa: cells === undefined ? undefined : { cell: cells.map((cell, id) => numaCell(context, cell, id)) },
  });
}

/** The definition's mode must be there; the default one is left out where it is not. */
function modeOf(context: PlanContext): CpuMode | undefined {
  const { hardware, options, host, guest, facts } = context;
  const { mode } = hardware.cpu ?? {};
  const known = facts?.cpuModes;
  if (mode !== undefined) {
    if (known?.includes(MODES[mode]) === false)
      throw unsupported("hardware.cpu.mode", `guests on this host can't have the CPU mode ${mode}`);
    if (mode === "hostPassthrough" && host.virtType !== "kvm")
      throw unsupported("hardware.cpu.mode", "the host's own CPU needs KVM");
    return mode;
  }
  const usual =
    options.cpuMode ?? (guest.arch === "aarch64" && host.virtType === "kvm" ? "hostPassthrough" : "hostModel");
  if (usual === "custom") return undefined;
  return known === undefined || known.includes(MODES[usual]) ? usual : undefined;
}

function namedModel({ hardware, facts }: PlanContext): Pick<LibvirtXml.DomainCpu, "match" | "model"> {
  const name = hardware.cpu?.model;
  if (name === undefined) throw invalid("hardware.cpu.model", name, "the name of a CPU model");
  const known = facts?.cpuModels.find((one) => one.name === name);
  if (facts !== undefined && facts.cpuModels.length > 0 && known === undefined)
    throw unsupported("hardware.cpu.model", `this host's libvirt has no CPU model ${name}`);
  if (known?.usable === false)
    throw unsupported("hardware.cpu.model", `this host lacks something that the CPU model ${name} has`);
  return { match: "exact", model: { fallback: "forbid", $text: name } };
}

/** Memory that is plugged needs a node to belong to: a guest without any gets one. */
function cellsOf({ definition, hardware }: PlanContext, most: number): readonly GuestNumaCell[] | undefined {
  const { cpu, memory } = hardware;
  if (cpu?.numaCells !== undefined) return cpu.numaCells;
  if (memory?.maxMiB === undefined || memory.maxMiB <= definition.memoryMiB) return undefined;
  return [{ vcpus: Array.from({ length: most }, (_, vcpu) => vcpu), memoryMiB: definition.memoryMiB }];
}

function numaCell(context: PlanContext, cell: GuestNumaCell, id: number): LibvirtXml.DomainCpuNumaCell {
  return defined<LibvirtXml.DomainCpuNumaCell>({
    id,
    // A node may have memory alone.
    cpus: cell.vcpus.length === 0 ? undefined : cpuSetText(cell.vcpus),
    memory: cell.memoryMiB * KIB_PER_MIB,
    unit: "KiB",
    memAccess: needsSharedMemory(context.definition) ? "shared" : undefined,
  });
}

function tuning(context: PlanContext): LibvirtXml.DomainCputune | undefined {
  const { hardware, platform } = context;
  const { vcpus = [], ioThreads = [] } = hardware.cpu?.pinning ?? {};
  const emulator = emulatorCpus(context, vcpus);
  const { cpuShares: shares, cpuPeriod: period, cpuQuota: quota } = platform;
  if ((period === undefined) !== (quota === undefined))
    throw invalid("platform.libvirt.cpuQuota", quota, "there if and only if cpuPeriod is");
  const vcpupin = vcpus.flatMap((cpus, vcpu) => (cpus.length === 0 ? [] : [{ vcpu, cpuset: cpuSetText(cpus) }]));
  // libvirt counts I/O threads from 1.
  const iothreadpin = ioThreads.flatMap((cpus, index) =>
    cpus.length === 0 ? [] : [{ iothread: index + 1, cpuset: cpuSetText(cpus) }],
  );
  const parts = defined<LibvirtXml.DomainCputune>({
    shares,
    period,
    quota,
    vcpupin: vcpupin.length === 0 ? undefined : vcpupin,
    emulatorpin: emulator.length === 0 ? undefined : { cpuset: cpuSetText(emulator) },
    iothreadpin: iothreadpin.length === 0 ? undefined : iothreadpin,
    vcpusched: scheduling(context, vcpus),
  });
  return Object.keys(parts).length === 0 ? undefined : parts;
}

/** A guest with CPUs of its own is not to disturb others: all of its threads stay on them, or on those that are there for such threads. */
function emulatorCpus(
  { hardware, platform, options, family }: PlanContext,
  vcpus: readonly (readonly number[])[],
): readonly number[] {
  const { emulatorThreads } = platform;
  const field = "platform.libvirt.emulatorThreads";
  const own = hardware.cpu?.pinning?.emulator;
  if (own !== undefined && emulatorThreads !== undefined)
    throw invalid(field, emulatorThreads, "absent where hardware.cpu.pinning.emulator says it");
  if (emulatorThreads !== undefined && family !== "qemu") throw unsupported(field, "only QEMU guests have it");
  if (own !== undefined) return own;
  const taken = vcpus.flat();
  if (emulatorThreads !== "isolate") return family === "qemu" ? taken : [];
  const free = (options.sharedCpus ?? []).filter((cpu) => !taken.includes(cpu));
  if (free.length === 0)
    throw invalid(field, emulatorThreads, "share, unless options.sharedCpus has CPUs that no vCPU is pinned to");
  return free;
}

function scheduling(
  { platform, family, definition, hardware }: PlanContext,
  pins: readonly (readonly number[])[],
): LibvirtXml.DomainCputune["vcpusched"] {
  const { realtime } = platform;
  if (realtime === undefined) return undefined;
  const field = "platform.libvirt.realtime";
  if (family !== "qemu") throw unsupported(field, "only QEMU guests have it");
  const most = hardware.cpu?.maxVcpus ?? definition.vcpus;
  const { vcpus, scheduler = "fifo", priority = 1 } = realtime;
  vcpus.forEach((vcpu, index) => {
    if (vcpu >= most || (pins[vcpu] ?? []).length === 0)
      throw invalid(`${field}.vcpus[${index}]`, vcpu, "the number of a vCPU that is pinned");
  });
  return [{ vcpus: cpuSetText(vcpus), scheduler, priority }];
}

/** Where the memory of the guest's nodes comes from. */
export function planNumaTuning({ hardware, host }: PlanContext): LibvirtXml.DomainNumatune | undefined {
  const nodes = (hardware.cpu?.numaCells ?? []).flatMap(({ hostNodes, policy }, cellid) => {
    if (hostNodes === undefined) return [];
    const missing = hostNodes.find((node) => host.numaNodes.length > 0 && !host.numaNodes.includes(node));
    if (missing !== undefined)
      throw invalid(`hardware.cpu.numaCells[${cellid}].hostNodes`, missing, "nodes that the host has");
    if (policy === "preferred" && hostNodes.length > 1)
      throw unsupported(`hardware.cpu.numaCells[${cellid}].hostNodes`, "libvirt prefers one node, not several");
    const mode = policy === undefined || policy === "bind" ? "strict" : policy;
    return [{ cellid, mode, nodeset: cpuSetText(hostNodes) }];
  });
  return nodes.length === 0 ? undefined : { memnode: nodes };
}

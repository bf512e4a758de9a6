/** The four calls whose replies are rows of processors, cut into these rows. */
import { LibvirtProtocolError } from "../errors.js";
import { procedureNamed } from "../procedures.js";
import { parametersToObject } from "../typed-parameter.js";
import type { TypedParameter, TypedParameterValues } from "../typed-parameter.js";
import type { RpcCaller, WireRecord } from "./rpc-caller.js";

/** A virtual processor: where it runs, and where it may. */
export interface VcpuStatus {
  readonly number: number;
  /** `VcpuState`. */
  readonly state: number;
  /** Nanoseconds. */
  readonly cpuTime: bigint;
  /** The processor of the host that it is on; negative when it is on none. */
  readonly cpu: number;
  /** The processors of the host that it may be on. */
  readonly cpumap: Uint8Array;
}

interface CpuCall {
  readonly caller: RpcCaller;
  readonly args: WireRecord;
  readonly options: object;
  readonly call: (changes: WireRecord) => Promise<WireRecord>;
}

/** `VIR_DOMAIN_VCPU_MAXIMUM`. */
const MAXIMUM = 4;
/** `VIR_DOMAIN_AFFECT_LIVE` and `VIR_DOMAIN_AFFECT_CONFIG`. */
const AFFECT = 3;
/** What the protocol allows of each. */
const MAX_MAP_BYTES = 2_048;
const MAX_STATS = 16;

export async function runCpuMethod(
  kind: "vcpus" | "vcpuPins" | "emulatorPin" | "cpuStats",
  cpuCall: CpuCall,
): Promise<unknown> {
  switch (kind) {
    case "vcpus":
      return vcpus(cpuCall);
    case "vcpuPins":
      return vcpuPins(cpuCall);
    case "emulatorPin":
      return emulatorPin(cpuCall);
    case "cpuStats":
      return cpuStats(cpuCall);
  }
}

async function vcpus(cpuCall: CpuCall): Promise<readonly VcpuStatus[]> {
  const [maxinfo, maplen] = await Promise.all([vcpuCount(cpuCall, 0), mapBytes(cpuCall)]);
  const { info, cpumaps } = (await cpuCall.call({ maxinfo, maplen })) as {
    readonly info: readonly Omit<VcpuStatus, "cpumap">[];
    readonly cpumaps: Uint8Array;
  };
  const maps = rows(cpumaps, maplen, info.length);
  return info.map((vcpu, i) => ({ ...vcpu, cpumap: maps[i] ?? new Uint8Array(0) }));
}

async function vcpuPins(cpuCall: CpuCall): Promise<readonly Uint8Array[]> {
  const flags = Number(cpuCall.args["flags"]);
  const [ncpumaps, maplen] = await Promise.all([vcpuCount(cpuCall, flags), mapBytes(cpuCall)]);
  const { cpumaps, num } = (await cpuCall.call({ ncpumaps, maplen })) as {
    readonly cpumaps: Uint8Array;
    readonly num: number;
  };
  return rows(cpumaps, maplen, num);
}

async function emulatorPin(cpuCall: CpuCall): Promise<Uint8Array> {
  const maplen = await mapBytes(cpuCall);
  const { cpumaps } = (await cpuCall.call({ maplen })) as { readonly cpumaps: Uint8Array };
  return cpumaps;
}

/** One object for each processor; the daemon leaves out what is empty at the end of the last. */
async function cpuStats({ call }: CpuCall): Promise<readonly TypedParameterValues[]> {
  const { nparams: available } = (await call({ nparams: 0, ncpus: 1 })) as { readonly nparams: number };
  if (available <= 0) return [];
  const { params, nparams } = (await call({ nparams: Math.min(available, MAX_STATS) })) as {
    readonly params: readonly TypedParameter[];
    readonly nparams: number;
  };
  if (nparams <= 0 && params.length > 0) throw new LibvirtProtocolError("domainGetCpuStats has rows of no parameters");
  const cpus: TypedParameterValues[] = [];
  for (let at = 0; at < params.length; at += nparams) cpus.push(parametersToObject(params.slice(at, at + nparams)));
  return cpus;
}

/** The most virtual processors that the domain may have, in the configuration that the flags are about. */
async function vcpuCount({ caller, args, options }: CpuCall, flags: number): Promise<number> {
  const wanted = (flags & AFFECT) | MAXIMUM;
  const procedure = procedureNamed("remote", "domainGetVcpusFlags");
  const { num } = (await caller.execute(procedure, { dom: args["dom"], flags: wanted }, options)) as {
    readonly num: number;
  };
  return num;
}

/** How many bytes a map of the host's processors takes. */
async function mapBytes({ caller, options }: CpuCall): Promise<number> {
  const procedure = procedureNamed("remote", "nodeGetCpuMap");
  const args = { needMap: 0, needOnline: 0, flags: 0 };
  const { ret } = (await caller.execute(procedure, args, options)) as { readonly ret: number };
  return Math.min(MAX_MAP_BYTES, Math.max(1, Math.ceil(ret / 8)));
}

function rows(maps: Uint8Array, length: number, count: number): Uint8Array[] {
  if (count < 0 || count * length > maps.length) {
    throw new LibvirtProtocolError(`${maps.length} bytes hold no ${count} maps of ${length} bytes`);
  }
  return Array.from({ length: count }, (_, i) => maps.subarray(i * length, (i + 1) * length));
}

/** Limits that a host's control groups hold: shares of processors, memory, disks, and the bandwidth of interfaces. */
import { DomainModificationImpact as IMPACT, parametersToObject } from "../../../libvirt/rpc/index.js";
import type { TypedParameter } from "../../../libvirt/rpc/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { devicesOf } from "./device-names.js";
import type { DomainDocument, DomainRecord } from "./domain-record.js";
import { chosen } from "./domain-state.js";
import { cpuNanoseconds } from "./guest-numbers.js";
import type { HostState } from "./host-state.js";
import { invalidOperation, refusal } from "./refuse.js";
import { checkParameters, parameter, someParameters } from "./typed-numbers.js";
import type { ParameterTable } from "./typed-numbers.js";

type Values = Readonly<Record<string, number | bigint | string | undefined>>;
type Nothing = Record<string, never>;

/** Parameters that stand in one place of a definition each. */
interface Limits {
  readonly table: ParameterTable;
  read(document: DomainDocument): Values;
  write(document: DomainDocument, values: Values): void;
}

const SCHEDULER_PLACES = {
  cpu_shares: "shares",
  vcpu_period: "period",
  vcpu_quota: "quota",
  emulator_period: "emulator_period",
  emulator_quota: "emulator_quota",
  global_period: "global_period",
  global_quota: "global_quota",
  iothread_period: "iothread_period",
  iothread_quota: "iothread_quota",
} as const;

const SCHEDULER: Limits = {
  table: Object.keys(SCHEDULER_PLACES).map((name) => [name, name.endsWith("_quota") ? "llong" : "ullong"]),
  read: ({ cputune = {} }) =>
    Object.fromEntries(Object.entries(SCHEDULER_PLACES).map(([name, place]) => [name, cputune[place]])),
  write(document, values) {
    const places = Object.entries(SCHEDULER_PLACES) as [keyof typeof SCHEDULER_PLACES, string][];
    const set = places.flatMap(([name, place]) => (values[name] === undefined ? [] : [[place, Number(values[name])]]));
    document.cputune = { ...document.cputune, ...(Object.fromEntries(set) as object) };
  },
};

const UNLIMITED = 9_007_199_254_740_991n;
const MEMORY_PLACES = {
  hard_limit: "hard_limit",
  soft_limit: "soft_limit",
  swap_hard_limit: "swap_hard_limit",
} as const;

const MEMORY: Limits = {
  table: Object.keys(MEMORY_PLACES).map((name) => [name, "ullong"]),
  read: ({ memtune = {} }) =>
    Object.fromEntries(Object.values(MEMORY_PLACES).map((name) => [name, memtune[name]?.$text ?? UNLIMITED])),
  write(document, values) {
    const set = Object.values(MEMORY_PLACES).flatMap((name) =>
      values[name] === undefined ? [] : [[name, { unit: "KiB", $text: Number(values[name]) }]],
    );
    document.memtune = { ...document.memtune, ...(Object.fromEntries(set) as object) };
  },
};

const BLKIO: Limits = {
  table: [
    ["weight", "uint"],
    ...["weight", "read_iops_sec", "write_iops_sec", "read_bytes_sec", "write_bytes_sec"].map(
      (name): readonly [string, "string"] => [`device_${name}`, "string"],
    ),
  ],
  read: ({ blkiotune = {} }) => ({ weight: blkiotune.weight ?? 0 }),
  write(document, { weight }) {
    if (weight !== undefined) document.blkiotune = { ...document.blkiotune, weight: Number(weight) };
  },
};

const NUMA: Limits = {
  table: [
    ["numa_nodeset", "string"],
    ["numa_mode", "int"],
  ],
  read: ({ numatune }) => ({
    numa_nodeset: numatune?.memory?.nodeset ?? "",
    numa_mode: NUMA_MODES.indexOf(numatune?.memory?.mode ?? "strict"),
  }),
  write(document, { numa_nodeset: nodeset, numa_mode: mode }) {
    const memory = {
      ...document.numatune?.memory,
      ...(nodeset === undefined ? {} : { nodeset: String(nodeset) }),
      ...(mode === undefined ? {} : { mode: NUMA_MODES[Number(mode)] ?? "strict" }),
    };
    document.numatune = { ...document.numatune, memory };
  },
};
const NUMA_MODES = ["strict", "preferred", "interleave", "restrictive"];

const BANDWIDTH: ParameterTable = ["inbound", "outbound"].flatMap((way) =>
  ["average", "peak", "burst", ...(way === "inbound" ? ["floor"] : [])].map((name): readonly [string, "uint"] => [
    `${way}.${name}`,
    "uint",
  ]),
);

interface Nic {
  readonly mac?: { readonly address?: string };
  readonly target?: { readonly dev?: string };
  bandwidth?: { inbound?: Record<string, number>; outbound?: Record<string, number> } | undefined;
}

export function resourceLimitHandlers(host: HostState): FakeLibvirtHandlers {
  const get = (domain: DomainRecord, limits: Limits, flags: number): TypedParameter[] => {
    const values = limits.read(chosen(domain, flags)[0] as DomainDocument);
    return limits.table.map(([field, type]) => parameter(field, type, values[field] ?? (type === "string" ? "" : 0)));
  };
  const set = (domain: DomainRecord, limits: Limits, params: readonly TypedParameter[], flags: number): Nothing => {
    checkParameters(params, limits.table);
    const values = parametersToObject(params) as Values;
    for (const document of chosen(domain, flags)) limits.write(document, values);
    return {};
  };
  return {
    domainGetSchedulerParameters: ({ dom, nparams }) => ({
      params: get(host.domain(dom), SCHEDULER, 0).slice(0, nparams),
    }),
    domainGetSchedulerParametersFlags: ({ dom, nparams, flags }) => ({
      params: get(host.domain(dom), SCHEDULER, flags).slice(0, nparams),
    }),
    domainSetSchedulerParameters: ({ dom, params }) => set(host.unlockedDomain(dom), SCHEDULER, params, 0),
    domainSetSchedulerParametersFlags: ({ dom, params, flags }) =>
      set(host.unlockedDomain(dom), SCHEDULER, params, flags),
    domainGetMemoryParameters: ({ dom, nparams, flags }) =>
      someParameters(get(host.domain(dom), MEMORY, flags), nparams),
    domainSetMemoryParameters: ({ dom, params, flags }) => set(host.unlockedDomain(dom), MEMORY, params, flags),
    domainGetBlkioParameters: ({ dom, nparams, flags }) => someParameters(get(host.domain(dom), BLKIO, flags), nparams),
    domainSetBlkioParameters: ({ dom, params, flags }) => set(host.unlockedDomain(dom), BLKIO, params, flags),
    domainGetNumaParameters: ({ dom, nparams, flags }) => someParameters(get(host.domain(dom), NUMA, flags), nparams),
    domainSetNumaParameters: ({ dom, params, flags }) => set(host.unlockedDomain(dom), NUMA, params, flags),
    domainGetInterfaceParameters({ dom, device, nparams, flags }) {
      const { bandwidth = {} } = nicIn(chosen(host.domain(dom), flags)[0] as DomainDocument, device);
      const all = BANDWIDTH.map(([field, type]) => {
        const [way, name] = field.split(".") as ["inbound" | "outbound", string];
        return parameter(field, type, bandwidth[way]?.[name] ?? 0);
      });
      return someParameters(all, nparams);
    },
    domainSetInterfaceParameters({ dom, device, params, flags }) {
      checkParameters(params, BANDWIDTH);
      for (const nic of chosen(host.unlockedDomain(dom), flags).map((document) => nicIn(document, device)))
        nic.bandwidth = withBandwidth(nic.bandwidth ?? {}, params);
      return {};
    },
    domainSetMemoryStatsPeriod({ dom, period, flags }) {
      if (period < 0)
        throw refusal("invalidArg", "domain", `invalid argument: period ${period} must be zero or greater`);
      for (const document of chosen(host.unlockedDomain(dom), flags)) {
        const balloon = document.devices?.memballoon;
        if (balloon === undefined || balloon.model === "none")
          throw invalidOperation("Memory balloon model must be virtio to set the collection period");
        balloon.stats = { period };
      }
      return {};
    },
    domainGetCpuStats({ dom, nparams, startCpu, ncpus }) {
      const domain = host.activeDomain(dom);
      return cpuStatistics(host, domain, { nparams, startCpu, ncpus });
    },
    domainSetLifecycleAction({ dom, type, action, flags }) {
      const name = LIFECYCLES[type];
      const what = ACTIONS[action];
      if (name === undefined || what === undefined)
        throw refusal("invalidArg", "qemu", "invalid argument: no such lifecycle event or action");
      for (const document of chosen(host.unlockedDomain(dom), flags === 0 ? IMPACT.current : flags))
        document[name] = what;
      return {};
    },
  };
}

const LIFECYCLES = ["on_poweroff", "on_reboot", "on_crash"] as const;
const ACTIONS = ["destroy", "restart", "rename-restart", "preserve", "coredump-destroy", "coredump-restart"] as const;

function withBandwidth(known: NonNullable<Nic["bandwidth"]>, params: readonly TypedParameter[]): Nic["bandwidth"] {
  const bandwidth: NonNullable<Nic["bandwidth"]> = structuredClone(known);
  for (const { field, value } of params) {
    const [way, name] = field.split(".") as ["inbound" | "outbound", string];
    if (Number(value) === 0) delete bandwidth[way]?.[name];
    else bandwidth[way] = { ...bandwidth[way], [name]: Number(value) };
  }
  return bandwidth;
}

/** @throws FakeLibvirtError when the definition has no such interface */
function nicIn(document: DomainDocument, device: string): Nic {
  const nics = devicesOf(document, "interface") as Nic[];
  const nic = nics.find(({ mac, target }) => mac?.address === device.toLowerCase() || target?.dev === device);
  if (nic === undefined) throw refusal("invalidArg", "domain", `'${device}' is not a known interface`);
  return nic;
}

/** Of all processors together where `startCpu` is -1, else of each by itself. */
function cpuStatistics(
  host: HostState,
  domain: DomainRecord,
  asked: { readonly nparams: number; readonly startCpu: number; readonly ncpus: number },
): { params: TypedParameter[]; nparams: number } {
  const { nparams, startCpu, ncpus } = asked;
  const time = cpuNanoseconds(host, domain);
  if (startCpu === -1) {
    const all: TypedParameter[] = [
      { field: "cpu_time", type: "ullong", value: time },
      { field: "user_time", type: "ullong", value: (time * 3n) / 4n },
      { field: "system_time", type: "ullong", value: time / 4n },
    ];
    return someParameters(all, nparams);
  }
  const { cpus } = host.hardware;
  if (ncpus === 0) return { params: [], nparams: cpus };
  if (nparams === 0) return { params: [], nparams: 1 };
  const count = Math.max(0, Math.min(ncpus, cpus - startCpu));
  const share = time / BigInt(cpus);
  const params = Array.from({ length: count }, (): TypedParameter => ({
    field: "cpu_time",
    type: "ullong",
    value: share,
  }));
  return { params, nparams: 1 };
}

/** Counters of guests: of one, or of all by one call. */
import { isHyperviseError, throwIfAborted } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { InterfaceNotFoundError, InvalidStateError } from "../../../driver/index.js";
import type { DiskStatistics, GuestInfo, GuestStatistics, InterfaceStatistics } from "../../../driver/index.js";
import { DiskNotFoundError } from "../../../storage/index.js";
import { DomainStatsTypes as Stats } from "../../rpc/index.js";
import type { TypedParameterValues } from "../../rpc/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { runsQemu } from "../host.js";
import type { LibvirtHost } from "../host.js";
import { readInfo, settledState } from "../lifecycle/info.js";
import { domainFamily } from "../plan/index.js";
import { isInMemory, powerStateOf } from "../power.js";
import { containerStatistics } from "./container-statistics.js";
import { guestStatistics as countersOf } from "./guest-counters.js";

/** All that is counted; with `nowait` a guest on which something else is being done has fewer. */
const COUNTERS = Stats.state | Stats.balloon | Stats.vcpu | Stats.interface | Stats.block;
/** What libvirt knows without asking the guest's process. */
const BASICS = Stats.state | Stats.cpuTotal;

export async function guestStatistics(core: GuestCore, options: CommonOptions): Promise<GuestStatistics> {
  const { host, instance } = core;
  const { uuid } = instance;
  if (!runsQemu(host)) return containerStatistics(core, options);
  const limits = core.limits(options, host.timeouts.queryMs);
  const [found] = await asDriverErrors({ operation: "statistics", instance }, () =>
    host.client.getAllDomainStats([core.domain], COUNTERS, limits),
  );
  return statisticsOf(core, found?.dom.uuid === uuid ? found.params : {});
}

/** @throws DiskNotFoundError, InvalidStateError when the guest is not in memory */
export async function diskStatistics(core: GuestCore, diskId: string, options: CommonOptions): Promise<DiskStatistics> {
  core.requireInMemory("diskStatistics");
  const { state, disks } = await guestStatistics(core, options);
  const counters = disks.find(({ id }) => id === diskId);
  if (counters !== undefined) return counters;
  requireCounted(core, "diskStatistics", state);
  throw new DiskNotFoundError(`the guest has no counted disk ${diskId}`, { instance: core.instance, device: diskId });
}

/** @throws InterfaceNotFoundError also for a NIC that nobody counts; InvalidStateError when the guest is not in memory */
export async function interfaceStatistics(
  core: GuestCore,
  nicId: string,
  options: CommonOptions,
): Promise<InterfaceStatistics> {
  core.requireInMemory("interfaceStatistics");
  const { state, interfaces } = await guestStatistics(core, options);
  const counters = interfaces.find(({ id }) => id === nicId);
  if (counters !== undefined) return counters;
  requireCounted(core, "interfaceStatistics", state);
  const { instance } = core;
  throw new InterfaceNotFoundError(`the guest has no counted NIC ${nicId}`, { instance, device: nicId });
}

/**
 * Counters of all guests in memory by their uuids, by one call; those that do not answer are absent. A guest whose process hangs holds up a call that asks all:
 * then each is asked for itself.
 */
export async function allStatistics(
  host: LibvirtHost,
  cores: readonly GuestCore[],
  options: CommonOptions,
): Promise<ReadonlyMap<string, GuestStatistics>> {
  const inMemory = cores.filter((core) => core.inMemory);
  if (inMemory.length === 0) return new Map();
  const { signal, deadline = host.timeouts.queryMs } = options;
  if (!runsQemu(host)) return statisticsOfEach(inMemory, options);
  const half = Math.min(deadline, host.timeouts.queryMs) / 2;
  const all = await statsOfAll(host, COUNTERS, { signal, deadlineMs: half }).catch((error: unknown) => {
    if (isHyperviseError(error, "DEADLINE_EXCEEDED")) return new Map<string, TypedParameterValues>();
    throw error;
  });
  const known = new Map<string, GuestStatistics>();
  const asking: Promise<unknown>[] = [];
  for (const core of inMemory) {
    const { uuid } = core.instance;
    const params = all.get(uuid);
    if (params !== undefined && isWhole(params)) known.set(uuid, statisticsOf(core, params));
    else {
      const limits = { ...(signal === undefined ? {} : { signal }), deadline: half };
      asking.push(guestStatistics(core, limits).then((one) => known.set(uuid, one)));
    }
  }
  await Promise.allSettled(asking);
  throwIfAborted(signal, "reading all guests' counters");
  return known;
}

/** Other drivers than QEMU's have no call for all. */
async function statisticsOfEach(
  cores: readonly GuestCore[],
  options: CommonOptions,
): Promise<ReadonlyMap<string, GuestStatistics>> {
  const known = new Map<string, GuestStatistics>();
  const ask = async (core: GuestCore): Promise<void> => {
    known.set(core.instance.uuid, await containerStatistics(core, options));
  };
  await Promise.allSettled(cores.map(ask));
  throwIfAborted(options.signal, "reading all guests' counters");
  return known;
}

/** What all guests are doing, by their uuids: of QEMU's by one call that waits on none of them. */
export async function allInfos(
  host: LibvirtHost,
  cores: readonly GuestCore[],
  options: CommonOptions,
): Promise<ReadonlyMap<string, GuestInfo>> {
  const { signal, deadline = host.timeouts.queryMs } = options;
  if (!runsQemu(host))
    return new Map(
      await Promise.all(cores.map(async (core) => [core.instance.uuid, await readInfo(core, options)] as const)),
    );
  const all = await statsOfAll(host, BASICS, { signal, deadlineMs: Math.min(deadline, host.timeouts.queryMs) });
  return new Map(cores.map((core) => [core.instance.uuid, infoOf(core, all.get(core.instance.uuid))]));
}

function infoOf(core: GuestCore, params: TypedParameterValues | undefined): GuestInfo {
  const { memoryMiB, vcpus } = core.definition;
  const state = params === undefined ? core.powerState : stateOf(core, params);
  if (!isInMemory(state)) return { state, stale: false, memoryMiB, vcpus };
  const cpuTimeNs = params?.["cpu.time"];
  const { startedAt } = core.state;
  return {
    state,
    stale: false,
    memoryMiB,
    vcpus,
    ...(typeof cpuTimeNs === "bigint" ? { cpuTimeNs } : {}),
    ...(startedAt === undefined ? {} : { startedAt }),
  };
}

async function statsOfAll(
  host: LibvirtHost,
  stats: number,
  limits: { readonly signal: AbortSignal | undefined; readonly deadlineMs: number },
): Promise<ReadonlyMap<string, TypedParameterValues>> {
  const found = await asDriverErrors({ operation: "statistics" }, () =>
    host.client.getAllDomainStats([], stats, { flags: ["nowait"], ...limits }),
  );
  return new Map(found.map(({ dom, params }) => [dom.uuid, params]));
}

function statisticsOf(core: GuestCore, params: TypedParameterValues): GuestStatistics {
  const { definition, host } = core;
  const state = stateOf(core, params);
  const { startedAt } = core.state;
  const uptime =
    isInMemory(state) && startedAt !== undefined ? { uptimeMs: Math.max(0, host.clock.now() - startedAt) } : {};
  return countersOf({ definition, family: domainFamily(host.facts, definition), state, ...uptime }, params);
}

/** A guest on which something else is being done is told of without what its process would have to be asked for. */
function isWhole(params: TypedParameterValues): boolean {
  return params["block.count"] === 0 || Object.keys(params).some((name) => name.endsWith(".rd.reqs"));
}

function stateOf(core: GuestCore, params: TypedParameterValues): GuestStatistics["state"] {
  const [state, reason] = [params["state.state"], params["state.reason"]];
  if (typeof state !== "number" || typeof reason !== "number") return core.powerState;
  return settledState(powerStateOf({ state, reason }), core.powerState);
}

function requireCounted({ instance }: GuestCore, operation: string, state: GuestStatistics["state"]): void {
  if (isInMemory(state)) return;
  throw new InvalidStateError({ operation, state, expected: ["running", "paused"], instance });
}

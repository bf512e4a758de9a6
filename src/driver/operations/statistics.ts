/** Reading counters of guests. A guest that does not answer never holds up the answer about the others. */
import { platform } from "node:os";
import { check, Deadline, NotSupportedError } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { checkUuid } from "../operation-options.js";
import type { Diagnostics, StatisticsFacet } from "../facets/statistics.js";
import { DiskNotFoundError, InterfaceNotFoundError } from "../errors.js";
import type { DiskStatistics, GuestStatistics, InterfaceStatistics } from "../statistics.js";
import type { Guest } from "../guest.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { isInMemory, powerStateOf, requireGuest, requireInMemory } from "../guest-actions.js";
import { runQuery } from "../run-operation.js";

type Named = Pick<InstanceRef, "uuid">;

const deviceId = check.string({ min: 1, max: 256 });

export function getDiagnostics(host: HostContext, instance: Named, options?: CommonOptions): Promise<Diagnostics> {
  return runQuery(host, "getDiagnostics", options, async (signal) => {
    const guest = await requireGuest(host, checkUuid(instance), signal);
    const statistics = await statisticsOf(guest, signal);
    return diagnosticsOf(host, { uuid: guest.uuid, name: guest.name }, statistics);
  });
}

function diagnosticsOf(host: HostContext, instance: InstanceRef, statistics: GuestStatistics): Diagnostics {
  const configDrive = host.records.get(instance.uuid)?.spec.configDrive !== undefined;
  return { ...statistics, instance, hypervisorType: host.hypervisor.type, hypervisorOs: platform(), configDrive };
}

export function getAllDiagnostics(
  host: HostContext,
  options?: CommonOptions,
): ReturnType<StatisticsFacet["getAllDiagnostics"]> {
  return runQuery(host, "getAllDiagnostics", options, async (signal) => {
    const { answered, unanswered } = await statisticsOfAll(host, signal);
    const diagnostics = answered.map(({ instance, statistics }) => diagnosticsOf(host, instance, statistics));
    return { diagnostics, unanswered };
  });
}

export function blockStats(
  host: HostContext,
  instance: Named,
  diskId: string,
  options?: CommonOptions,
): Promise<DiskStatistics> {
  return runQuery(host, "blockStats", options, async (signal) => {
    deviceId(diskId, "diskId");
    const guest = await requireInMemory(host, checkUuid(instance), "blockStats", signal);
    const { disks } = await guest.definition();
    if (!disks.some(({ id }) => id === diskId))
      throw new DiskNotFoundError("the instance has no such disk", { instance: guest, device: diskId });
    if (guest.diskStatistics === undefined) throw new NotSupportedError({ capability: "statistics" });
    return guest.diskStatistics(diskId, { signal });
  });
}

export function interfaceStats(
  host: HostContext,
  instance: Named,
  interfaceId: string,
  options?: CommonOptions,
): Promise<InterfaceStatistics> {
  return runQuery(host, "interfaceStats", options, async (signal) => {
    deviceId(interfaceId, "interfaceId");
    const guest = await requireInMemory(host, checkUuid(instance), "interfaceStats", signal);
    const { nics } = await guest.definition();
    if (!nics.some(({ id }) => id === interfaceId)) {
      throw new InterfaceNotFoundError("the instance has no such network interface", {
        instance: guest,
        device: interfaceId,
      });
    }
    if (guest.interfaceStatistics === undefined) throw new NotSupportedError({ capability: "statistics" });
    return guest.interfaceStatistics(interfaceId, { signal });
  });
}

export function getAllBandwidthCounters(
  host: HostContext,
  options?: CommonOptions,
): ReturnType<StatisticsFacet["getAllBandwidthCounters"]> {
  return runQuery(host, "getAllBandwidthCounters", options, async (signal) => {
    const { answered, unanswered } = await statisticsOfAll(host, signal);
    const counters = answered.flatMap(({ instance, statistics }) =>
      statistics.interfaces.map((nic) => ({ instance, interface: nic })),
    );
    return { counters, unanswered };
  });
}

export function getAllVolumeUsage(
  host: HostContext,
  options?: CommonOptions,
): ReturnType<StatisticsFacet["getAllVolumeUsage"]> {
  return runQuery(host, "getAllVolumeUsage", options, async (signal) => {
    const { answered, unanswered } = await statisticsOfAll(host, signal);
    const usage = answered.flatMap(({ instance, statistics }) => {
      const volumeIds = new Map(
        host.records.get(instance.uuid)?.volumes.map(({ diskId, connection }) => [diskId, connection.volumeId]),
      );
      return statistics.disks.flatMap((disk) => {
        const volumeId = volumeIds.get(disk.id);
        return volumeId === undefined ? [] : [{ instance, volumeId, disk }];
      });
    });
    return { usage, unanswered };
  });
}

interface Answered {
  readonly instance: InstanceRef;
  readonly statistics: GuestStatistics;
}

/** Asks for all guests in memory by one call, where the hypervisor has that. */
async function statisticsOfAll(
  host: HostContext,
  signal: AbortSignal,
): Promise<{ readonly answered: readonly Answered[]; readonly unanswered: readonly InstanceRef[] }> {
  const { hypervisor } = host;
  if (hypervisor.allStatistics === undefined || hypervisor.allInfos === undefined)
    return statisticsOfEach(host, signal);
  const deadline = host.timeouts.queryMs * 0.4;
  const [guests, found] = await Promise.all([
    hypervisor.list({ signal }),
    hypervisor.allStatistics({ signal, deadline }),
  ]);
  const rest = guests.filter(({ uuid }) => !found.has(uuid));
  const infos = rest.length === 0 ? undefined : await hypervisor.allInfos({ signal, deadline });
  const answered: Answered[] = [];
  const unanswered: InstanceRef[] = [];
  for (const { uuid, name } of guests) {
    const statistics = found.get(uuid);
    if (statistics !== undefined) answered.push({ instance: { uuid, name }, statistics });
    else if (isInMemory(infos?.get(uuid)?.state ?? "shutdown")) unanswered.push({ uuid, name });
  }
  return { answered, unanswered };
}

/** Asks all guests in memory at once; each has its own limit, shorter than the query's, so that the others' answers are in time. */
async function statisticsOfEach(
  host: HostContext,
  signal: AbortSignal,
): Promise<{ readonly answered: readonly Answered[]; readonly unanswered: readonly InstanceRef[] }> {
  const answered: Answered[] = [];
  const unanswered: InstanceRef[] = [];
  const ask = async (guest: Guest): Promise<void> => {
    const instance = { uuid: guest.uuid, name: guest.name };
    const limit = Deadline.after(host.timeouts.queryMs * 0.8, {
      operation: "getDiagnostics",
      clock: host.clock,
      signal,
    });
    try {
      if (!isInMemory(await limit.race(powerStateOf(guest, limit.signal)))) return;
      answered.push({ instance, statistics: await limit.race(statisticsOf(guest, limit.signal)) });
    } catch {
      unanswered.push(instance);
    } finally {
      limit.dispose();
    }
  };
  await Promise.all((await host.hypervisor.list({ signal })).map(ask));
  return { answered, unanswered };
}

function statisticsOf(guest: Guest, signal: AbortSignal): Promise<GuestStatistics> {
  if (guest.statistics === undefined) throw new NotSupportedError({ capability: "statistics" });
  return guest.statistics({ signal });
}

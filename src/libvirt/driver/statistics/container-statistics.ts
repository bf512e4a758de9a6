/** Counters of a container, which has no QEMU: what its control groups and the devices on the host say. */
import { isHyperviseError } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import type { GuestDefinition, GuestStatistics, InterfaceStatistics, PowerState } from "../../../driver/index.js";
import { parseDomainXml } from "../../xml/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { settledState } from "../lifecycle/info.js";
import { findNic, readDomain } from "../plan/index.js";
import { isInMemory, powerStateOf } from "../power.js";

const KIB_PER_MIB = 1024n;
const ROOT_DISK = "root";

type Limits = ReturnType<GuestCore["limits"]>;

/**
 * A container has no CPUs of its own: all of its time is told as the first one's. All that it reads and writes on block devices is told as its root disk's.
 * `virDomainGetInfo`, `virDomainBlockStats` and `virDomainInterfaceStats`.
 */
export async function containerStatistics(core: GuestCore, options: CommonOptions): Promise<GuestStatistics> {
  const { domain, host, instance } = core;
  const limits = core.limits(options, host.timeouts.queryMs);
  return asDriverErrors({ operation: "statistics", instance }, async () => {
    const state = settledState(powerStateOf(await domain.getState(limits)), core.powerState);
    if (!isInMemory(state)) return atRest(core.definition, state);
    try {
      return await inMemory(core, state, limits);
    } catch (error) {
      // It has ended meanwhile.
      const now = settledState(powerStateOf(await domain.getState(limits)), core.powerState);
      if (isInMemory(now) || isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
      return atRest(core.definition, now);
    }
  });
}

async function inMemory(core: GuestCore, state: PowerState, limits: Limits): Promise<GuestStatistics> {
  const { definition, domain, host } = core;
  const { startedAt } = core.state;
  const [{ cpuTime, maxMem, memory }, blocks, interfaces] = await Promise.all([
    domain.getInfo(limits),
    domain.blockStats("", limits),
    interfacesOf(core, limits),
  ]);
  const used = Number(memory / KIB_PER_MIB);
  const hasRoot = definition.disks.some(({ id }) => id === ROOT_DISK);
  const { rdReq, rdBytes, wrReq, wrBytes } = blocks;
  const root = { id: ROOT_DISK, readRequests: rdReq, readBytes: rdBytes, writeRequests: wrReq, writeBytes: wrBytes };
  return {
    state,
    ...(startedAt === undefined ? {} : { uptimeMs: Math.max(0, host.clock.now() - startedAt) }),
    vcpus: [{ id: 0, timeNs: cpuTime }],
    memory: {
      maximumMiB: definition.memoryMiB,
      currentMiB: Number(maxMem / KIB_PER_MIB),
      residentMiB: used,
      usedMiB: used,
    },
    disks: hasRoot ? [root] : [],
    interfaces,
  };
}

function atRest({ memoryMiB }: GuestDefinition, state: PowerState): GuestStatistics {
  const memory = { maximumMiB: memoryMiB, currentMiB: memoryMiB };
  return { state, vcpus: [], memory, disks: [], interfaces: [] };
}

/** libvirt has named the devices on the host. */
async function interfacesOf(core: GuestCore, limits: Limits): Promise<readonly InterfaceStatistics[]> {
  const { definition, domain } = core;
  if (definition.nics.length === 0) return [];
  const found = readDomain(parseDomainXml(await domain.getXmlDesc(limits)));
  const counted = definition.nics.map(async ({ id, macAddress }): Promise<InterfaceStatistics[]> => {
    const device = findNic(found, id, macAddress)?.target;
    if (device === undefined) return [];
    const counters = await domain.interfaceStats(device, limits);
    return [
      {
        id,
        macAddress,
        rxBytes: counters.rxBytes,
        rxPackets: counters.rxPackets,
        rxErrors: counters.rxErrs,
        rxDropped: counters.rxDrop,
        txBytes: counters.txBytes,
        txPackets: counters.txPackets,
        txErrors: counters.txErrs,
        txDropped: counters.txDrop,
      },
    ];
  });
  return (await Promise.all(counted)).flat();
}

/** Counters of simulated guests: they follow from how long the vCPUs have run, so that nothing has to be counted. */
import { DiskNotFoundError, InterfaceNotFoundError } from "../driver/index.js";
import type { DiskStatistics, GuestDisk, GuestNic, GuestStatistics, InterfaceStatistics } from "../driver/index.js";
import { inMemory, ranMs } from "./guest-record.js";
import type { GuestRecord } from "./guest-record.js";
import type { FakeHost } from "./host.js";

/** What a running guest does in a second. */
const READ_BYTES = 65_536;
const WRITE_BYTES = 16_384;
const REQUEST_BYTES = 4_096;
const RX_BYTES = 12_000;
const TX_BYTES = 3_000;
const PACKET_BYTES = 600;

export function cpuTimeNs(host: FakeHost, record: GuestRecord): bigint {
  return cpuNs(host, record) * BigInt(record.definition.vcpus);
}

/** Of one vCPU. */
function cpuNs(host: FakeHost, record: GuestRecord): bigint {
  const ran = ranMs(record, host.world.clock.now());
  return BigInt(Math.round(ran * 1_000_000 * host.behaviourOf(record.definition.uuid).cpuLoad));
}

export function guestStatistics(host: FakeHost, record: GuestRecord): GuestStatistics {
  const { definition, state, startedAt } = record;
  const { memoryMiB, vcpus, disks, nics } = definition;
  const memory = { maximumMiB: memoryMiB, currentMiB: record.extras?.balloonMiB ?? memoryMiB };
  if (!inMemory(record)) return { state, vcpus: [], memory, disks: [], interfaces: [] };
  const timeNs = cpuNs(host, record);
  return {
    state,
    ...(startedAt === undefined ? {} : { uptimeMs: host.world.clock.now() - startedAt }),
    vcpus: Array.from({ length: vcpus }, (_, id) => ({ id, timeNs })),
    memory: { ...memory, residentMiB: memoryMiB, usedMiB: Math.round(memoryMiB * 0.3) },
    disks: disks.map((disk) => countDisk(host, record, disk)),
    interfaces: nics.map((nic) => countNic(host, record, nic)),
  };
}

/** @throws DiskNotFoundError */
export function diskStatistics(host: FakeHost, record: GuestRecord, diskId: string): DiskStatistics {
  const disk = record.definition.disks.find((one) => one.id === diskId);
  if (disk === undefined)
    throw new DiskNotFoundError("The guest has no such disk", { instance: record.definition, device: diskId });
  return countDisk(host, record, disk);
}

/** @throws InterfaceNotFoundError */
export function interfaceStatistics(host: FakeHost, record: GuestRecord, nicId: string): InterfaceStatistics {
  const nic = record.definition.nics.find((one) => one.id === nicId);
  if (nic === undefined)
    throw new InterfaceNotFoundError("The guest has no such NIC", { instance: record.definition, device: nicId });
  return countNic(host, record, nic);
}

function countDisk(host: FakeHost, record: GuestRecord, disk: GuestDisk): DiskStatistics {
  const readBytes = perSecond(host, record, READ_BYTES);
  const writeBytes = disk.readOnly ? 0n : perSecond(host, record, WRITE_BYTES);
  return {
    id: disk.id,
    readBytes,
    readRequests: readBytes / BigInt(REQUEST_BYTES),
    writeBytes,
    writeRequests: writeBytes / BigInt(REQUEST_BYTES),
    errors: 0n,
  };
}

function countNic(host: FakeHost, record: GuestRecord, nic: GuestNic): InterfaceStatistics {
  const rxBytes = perSecond(host, record, RX_BYTES);
  const txBytes = perSecond(host, record, TX_BYTES);
  return {
    id: nic.id,
    macAddress: nic.macAddress,
    rxBytes,
    rxPackets: rxBytes / BigInt(PACKET_BYTES),
    rxErrors: 0n,
    rxDropped: 0n,
    txBytes,
    txPackets: txBytes / BigInt(PACKET_BYTES),
    txErrors: 0n,
    txDropped: 0n,
  };
}

function perSecond(host: FakeHost, record: GuestRecord, rate: number): bigint {
  return BigInt(Math.floor((ranMs(record, host.world.clock.now()) / 1000) * rate));
}

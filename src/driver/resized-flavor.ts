/** A record whose guest has more or fewer vCPUs, or more or less memory. Pure. */
import { InvalidArgumentError } from "../core/index.js";
import type { Flavor } from "./instance-spec.js";
import type { InstanceRecord } from "./instance-record.js";

export function withVcpus(record: InstanceRecord, vcpus: number): InstanceRecord {
  const { flavor } = record.spec;
  if (flavor.vcpus === vcpus) return record;
  const { cpuTopology: _topology, ...rest } = flavor;
  const cpuTopology = topologyFor(record, vcpus);
  return withFlavor(record, { ...rest, vcpus, ...(cpuTopology === undefined ? {} : { cpuTopology }) });
}

export function withMemory(record: InstanceRecord, memoryMiB: number): InstanceRecord {
  const { flavor } = record.spec;
  return flavor.memoryMiB === memoryMiB ? record : withFlavor(record, { ...flavor, memoryMiB });
}

function withFlavor(record: InstanceRecord, flavor: Flavor): InstanceRecord {
  return { ...record, spec: { ...record.spec, flavor } };
}

/** More or fewer sockets of the same kind; none when they can't be whole. */
function topologyFor({ spec }: InstanceRecord, vcpus: number): Flavor["cpuTopology"] {
  const { cpuTopology } = spec.flavor;
  if (cpuTopology === undefined) return undefined;
  const { cores, threads } = cpuTopology;
  return vcpus % (cores * threads) === 0 ? { sockets: vcpus / (cores * threads), cores, threads } : undefined;
}

/** @throws InvalidArgumentError when it is more than the spec allows, or breaks a socket of the flavor's topology. */
export function checkVcpus(record: InstanceRecord, vcpus: number): void {
  const { flavor, hardware } = record.spec;
  const most = hardware?.cpu?.maxVcpus;
  if (most !== undefined && vcpus > most)
    throw new InvalidArgumentError({ field: "vcpus", value: vcpus, expected: `1 to ${most}, the spec's maxVcpus` });
  if (flavor.cpuTopology === undefined || withVcpus(record, vcpus).spec.flavor.cpuTopology !== undefined) return;
  const { cores, threads } = flavor.cpuTopology;
  throw new InvalidArgumentError({
    field: "vcpus",
    value: vcpus,
    expected: `a multiple of the ${cores * threads} vCPUs of a socket of the flavor's cpuTopology`,
  });
}

/** @throws InvalidArgumentError when it is more than the spec allows. */
export function checkMemory({ spec }: InstanceRecord, memoryMiB: number): void {
  const most = spec.hardware?.memory?.maxMiB;
  if (most !== undefined && memoryMiB > most)
    throw new InvalidArgumentError({
      field: "memoryMiB",
      value: memoryMiB,
      expected: `1 to ${most}, the spec's maxMiB`,
    });
}

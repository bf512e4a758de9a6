/** What the simulated machine can run: checks of a definition that touch nothing, and the slots that a machine has. */
import { InvalidArgumentError, NotSupportedError } from "../core/index.js";
import type { GuestDefinition, HypervisorFeature } from "../driver/index.js";

/** What a kind of simulated machine takes. */
export interface MachineLimits {
  readonly machines: readonly string[];
  readonly firmwares: readonly string[];
  readonly buses: readonly string[];
  /** False for containers, which have no kernel of their own. */
  readonly kernels: boolean;
  readonly maxVcpus: number;
}

export const FULL_MACHINE: MachineLimits = {
  machines: ["q35", "pc", "microvm", "virt"],
  firmwares: ["bios", "uefi"],
  buses: ["virtio", "scsi", "sata", "ide", "usb", "nvme", "fdc"],
  kernels: true,
  maxVcpus: 1024,
};

export const DEFAULT_DISK_SLOTS = 64;
export const DEFAULT_NIC_SLOTS = 29;
export const DEFAULT_DEVICE_SLOTS = 64;

/** @throws InvalidArgumentError for what contradicts itself, NotSupportedError for what this machine lacks. */
export function checkDefinition(definition: GuestDefinition, limits: MachineLimits): void {
  const { vcpus, memoryMiB, cpuTopology, machine, firmware, kernel, disks, nics } = definition;
  checkCount("definition.vcpus", vcpus, 1, limits.maxVcpus);
  checkCount("definition.memoryMiB", memoryMiB, 1, 67_108_864);
  if (cpuTopology !== undefined && cpuTopology.sockets * cpuTopology.cores * cpuTopology.threads !== vcpus) {
    throw new InvalidArgumentError({
      field: "definition.cpuTopology",
      value: cpuTopology,
      expected: `${vcpus} vCPUs in all`,
    });
  }
  if (machine !== undefined) checkKnown("machine", machine, limits.machines);
  checkKnown("firmware", firmware, limits.firmwares);
  if (kernel !== undefined && !limits.kernels) throw new NotSupportedError({ capability: "kernel" });
  for (const disk of disks) checkKnown("disk bus", disk.bus, limits.buses);
  checkUnique(
    "definition.disks",
    "id",
    disks.map((disk) => disk.id),
  );
  checkUnique(
    "definition.disks",
    "deviceName",
    disks.map((disk) => disk.deviceName),
  );
  checkUnique(
    "definition.nics",
    "id",
    nics.map((nic) => nic.id),
  );
  checkUnique(
    "definition.nics",
    "macAddress",
    nics.map((nic) => nic.macAddress),
  );
}

/** What the simulated machine would be started with: plain data, for `plan`. */
export function describeDefinition(definition: GuestDefinition, features: ReadonlySet<HypervisorFeature>): unknown {
  return { hypervisor: "fake", features: [...features], guest: structuredClone(definition) };
}

function checkCount(field: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new InvalidArgumentError({ field, value, expected: `an integer from ${min} to ${max}` });
}

function checkKnown(capability: string, value: string, known: readonly string[]): void {
  if (!known.includes(value)) throw new NotSupportedError({ capability: `${capability} ${value}` });
}

function checkUnique(list: string, field: string, values: readonly string[]): void {
  const twice = values.findIndex((value, index) => values.indexOf(value) < index);
  if (twice < 0) return;
  throw new InvalidArgumentError({
    field: `${list}[${twice}].${field}`,
    value: values[twice],
    expected: "one that no other has",
  });
}

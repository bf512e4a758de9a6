/** What of a definition this hypervisor can run; everything else is refused before anything is touched. */
import { InvalidArgumentError, NotSupportedError, check } from "../core/index.js";
import type { Check } from "../core/index.js";
import {
  DEVICE_TYPES,
  DISK_BUSES,
  FIRMWARES,
  MACHINES,
  diskTuningCheck,
  guestHardwareCheck,
  platformCheck,
} from "../driver/index.js";
import type { GuestDefinition, GuestDisk, GuestNic } from "../driver/index.js";
import { diskSourceCheck } from "../storage/index.js";
import type { DiskSource } from "../storage/index.js";
import { NIC_MODELS } from "../network/index.js";
import { checkHardware } from "./hardware-check.js";
import { maxVcpus } from "./plan/cpu.js";
import { checkPinning } from "./pinning/check-pinning.js";
import { machineNamed, versionText } from "./plan/capabilities.js";
import type { QemuCapabilities } from "./plan/capabilities.js";
import { nicDriver, queuesOf } from "./plan/devices.js";
import { KVM_MACHINES, TOPOLOGIES } from "./plan/topology.js";
import type { KvmMachine } from "./plan/topology.js";

const MAX_DEVICES = 256;
const deviceId = check.string({ max: 255 });

export const sourceCheck: Check<DiskSource> = diskSourceCheck;

/** A disk as plain, frozen data. */
export const diskCheck: Check<GuestDisk> = check.object({
  id: deviceId,
  source: check.optional(sourceCheck),
  bus: check.oneOf(DISK_BUSES),
  deviceType: check.oneOf(DEVICE_TYPES),
  deviceName: check.string({ max: 32, charset: "name" }),
  readOnly: check.boolean(),
  shareable: check.boolean(),
  serial: check.optional(check.string({ max: 128, charset: "ascii" })),
  bootIndex: check.optional(check.integer({ min: 0, max: 1_000_000 })),
  tuning: check.optional(diskTuningCheck),
});

const interfaceName = check.string({ max: 15, pattern: /^[^/\s:,]+$/, expected: "the name of a network interface" });

/** A NIC as plain, frozen data. */
export const nicCheck: Check<GuestNic> = check.object({
  id: deviceId,
  macAddress: check.mac(),
  model: check.oneOf(NIC_MODELS),
  backend: check.variants("type", {
    tap: check.object({
      type: check.oneOf(["tap"]),
      deviceName: interfaceName,
      bridge: check.optional(check.string({ max: 15 })),
      queues: check.integer({ min: 1, max: 256 }),
    }),
    macvtap: check.object({
      type: check.oneOf(["macvtap"]),
      deviceName: interfaceName,
      // Each further one would be opened in another mode.
      queues: check.integer({ min: 1, max: 1 }),
    }),
    vhostUser: check.object({
      type: check.oneOf(["vhostUser"]),
      socketPath: check.absolutePath(),
      server: check.oneOf(["switch", "hypervisor"]),
      queues: check.integer({ min: 1, max: 256 }),
    }),
    user: check.object({ type: check.oneOf(["user"]), cidr: check.optional(check.cidr({ version: 4 })) }),
  }),
  mtu: check.optional(check.integer({ min: 68, max: 65_535 })),
  queues: check.integer({ min: 1, max: 256 }),
  bootIndex: check.optional(check.integer({ min: 0, max: 1_000_000 })),
});

/** The shape of a definition, whatever hypervisor it is for. */
export const definitionCheck: Check<GuestDefinition> = check.object({
  uuid: check.uuid(),
  name: check.string({ max: 63, charset: "name" }),
  vcpus: check.integer({ min: 1, max: 1024 }),
  memoryMiB: check.integer({ min: 1, max: 67_108_864 }),
  cpuTopology: check.optional(
    check.object({
      sockets: check.integer({ min: 1 }),
      cores: check.integer({ min: 1 }),
      threads: check.integer({ min: 1 }),
    }),
  ),
  machine: check.optional(check.oneOf(MACHINES)),
  firmware: check.oneOf(FIRMWARES),
  kernel: check.optional(
    check.object({
      kernelPath: check.absolutePath(),
      ramdiskPath: check.optional(check.absolutePath()),
      commandLine: check.optional(check.string({ min: 0, max: 2048 })),
    }),
  ),
  disks: check.array(diskCheck, { max: MAX_DEVICES }),
  nics: check.array(nicCheck, { max: MAX_DEVICES }),
  guestAgent: check.boolean(),
  hardware: check.optional(guestHardwareCheck),
  platform: check.optional(platformCheck),
});

/** The machine that a definition asks for, or the one for the architecture. */
export function machineOf(
  definition: Pick<GuestDefinition, "machine">,
  { target }: Pick<QemuCapabilities, "target">,
): KvmMachine {
  const { machine = target === "aarch64" ? "virt" : "q35" } = definition;
  const known = KVM_MACHINES.find((name) => name === machine);
  if (known === undefined) throw new NotSupportedError({ capability: `machine ${machine}` });
  return known;
}

/**
 * Checks a definition against the QEMU at hand. Throws `InvalidArgumentError` for what contradicts itself, `NotSupportedError` for what this QEMU
 * or this release can't do.
 */
export function checkDefinition(definition: unknown, capabilities: QemuCapabilities): GuestDefinition {
  const checked = definitionCheck(definition, "definition");
  const machineName = machineOf(checked, capabilities);
  const machine = machineNamed(capabilities, machineName);
  if (machine === undefined) {
    throw new NotSupportedError({
      capability: `machine ${machineName}`,
      message: `QEMU ${versionText(capabilities)} has no machine ${machineName}`,
    });
  }
  if (maxVcpus(checked) > machine.cpuMax)
    throw invalid("vcpus", maxVcpus(checked), `at most ${machine.cpuMax} on ${machineName}`);
  checkTopology(checked);
  checkUnique(
    checked.disks.map(({ id }) => id),
    "disks",
    "id",
  );
  checkUnique(
    checked.disks.map(({ deviceName }) => deviceName),
    "disks",
    "deviceName",
  );
  checkUnique(
    checked.disks.map(({ bootIndex }, index) => String(bootIndex ?? `none of ${index}`)),
    "disks",
    "bootIndex",
  );
  const booted = new Set(checked.disks.flatMap(({ bootIndex }) => bootIndex ?? []));
  checkUnique(
    checked.nics.map(({ bootIndex }, index) => String(bootIndex ?? `none of ${index}`)),
    "nics",
    "bootIndex",
  );
  checked.nics.forEach(({ bootIndex }, index) => {
    if (bootIndex !== undefined && booted.has(bootIndex))
      throw invalid(`nics[${index}].bootIndex`, bootIndex, "one that no disk has");
  });
  checkUnique(
    checked.nics.map(({ id }) => id),
    "nics",
    "id",
  );
  checked.disks.forEach((disk, index) => checkDisk(disk, machineName, `definition.disks[${index}]`));
  checked.nics.forEach((nic, index) => checkNic(nic, machineName, capabilities, `definition.nics[${index}]`));
  checkHardware(checked, machineName);
  checkPinning(checked);
  if (machineName === "microvm" && checked.kernel === undefined)
    throw invalid("kernel", undefined, "a kernel: a microvm has no boot loader");
  return checked;
}

/** Checks one disk for a machine. */
export function checkDisk(disk: GuestDisk, machine: KvmMachine, path: string): void {
  if (TOPOLOGIES[machine].disks[disk.bus] === undefined) {
    throw new NotSupportedError({ capability: `${disk.bus} disks on ${machine}` });
  }
  if ((disk.deviceType === "floppy") !== (disk.bus === "fdc")) {
    throw new InvalidArgumentError({
      field: `${path}.bus`,
      value: disk.bus,
      expected: disk.deviceType === "floppy" ? "fdc for a floppy" : "another bus: on fdc there are only floppies",
    });
  }
  if (disk.deviceType === "cdrom" && (disk.bus === "virtio" || disk.bus === "usb" || disk.bus === "nvme")) {
    throw new InvalidArgumentError({
      field: `${path}.bus`,
      value: disk.bus,
      expected: "sata, ide or scsi for a cdrom",
    });
  }
  if (disk.source === undefined && disk.deviceType === "disk") {
    throw new InvalidArgumentError({ field: `${path}.source`, value: undefined, expected: "a source" });
  }
  if (disk.source !== undefined && disk.source.format !== "raw" && disk.shareable) {
    throw new InvalidArgumentError({
      field: `${path}.source.format`,
      value: disk.source.format,
      expected: "raw for a disk that several guests have open",
    });
  }
}

/** Checks one NIC for a machine. */
export function checkNic(nic: GuestNic, machine: KvmMachine, capabilities: QemuCapabilities, path: string): void {
  const driver = nicDriver(nic.model);
  const known = capabilities.devices.includes(driver) && !(machine === "microvm" && nic.model !== "virtio");
  if (!known) throw new NotSupportedError({ capability: `NIC model ${nic.model} on ${machine}` });
  if (nic.backend.type === "vhostUser" && nic.model !== "virtio") {
    throw new InvalidArgumentError({
      field: `${path}.model`,
      value: nic.model,
      expected: "virtio for a NIC on a switch in user space",
    });
  }
  const queues = Math.max(nic.queues, queuesOf(nic));
  if (queues > 1 && (nic.model !== "virtio" || nic.backend.type === "user")) {
    throw new InvalidArgumentError({
      field: `${path}.queues`,
      value: queues,
      expected: "1, except for a virtio NIC on a TAP or a switch in user space",
    });
  }
}

function checkTopology({ cpuTopology, vcpus, hardware }: GuestDefinition): void {
  // Of a guest that can be given vCPUs, cores and threads alone say how they are arranged: see `topologyOf`.
  if (cpuTopology === undefined || hardware?.cpu?.maxVcpus !== undefined) return;
  const { sockets, cores, threads } = cpuTopology;
  if (sockets * cores * threads !== vcpus)
    throw invalid("cpuTopology", `${sockets} * ${cores} * ${threads}`, `a product of ${vcpus}, the number of vCPUs`);
}

function checkUnique(values: readonly string[], list: string, key: string): void {
  const second = values.findIndex((value, index) => values.indexOf(value) !== index);
  if (second >= 0)
    throw invalid(`${list}[${second}].${key}`, values[second], `one that no other of the guest's ${list} has`);
}

function invalid(field: string, value: unknown, expected: string): InvalidArgumentError {
  return new InvalidArgumentError({ field: `definition.${field}`, value, expected });
}

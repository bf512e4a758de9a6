/** What of a definition this hypervisor can run; everything else is refused before anything is touched. */
import { InvalidArgumentError, NotSupportedError } from "../core/index.js";
import type { GuestDefinition, GuestDisk, GuestNic } from "../driver/index.js";
import { guestDefinitionCheck, refuseContradictions } from "../hypervisor/index.js";
import { checkHardware } from "./hardware-check.js";
import { maxVcpus } from "./plan/cpu.js";
import { checkPinning } from "./pinning/check-pinning.js";
import { machineNamed, versionText } from "./plan/capabilities.js";
import type { QemuCapabilities } from "./plan/capabilities.js";
import { nicDriver, queuesOf } from "./plan/devices.js";
import { KVM_MACHINES, TOPOLOGIES } from "./plan/topology.js";
import type { KvmMachine } from "./plan/topology.js";

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
  const checked = guestDefinitionCheck(definition, "definition");
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
  refuseContradictions(checked);
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
  if (nic.backend.type === "macvtap" && nic.backend.queues > 1) {
    throw new InvalidArgumentError({
      field: `${path}.backend.queues`,
      value: nic.backend.queues,
      expected: "1: each further one would be opened in another mode",
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

function invalid(field: string, value: unknown, expected: string): InvalidArgumentError {
  return new InvalidArgumentError({ field: `definition.${field}`, value, expected });
}

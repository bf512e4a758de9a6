/** A guest's hardware beyond its definition: which QEMU id and which slot each device has. Kept with the guest, so that a device never moves. */
import { NotSupportedError } from "../../core/index.js";
import { NoFreeSlotError } from "../../driver/index.js";
import type { GuestDefinition, GuestDevice, GuestDisk } from "../../driver/index.js";
import { SCSI_CONTROLLER, SCSI_TARGETS, USB_CONTROLLER, builtInParts } from "./built-in-parts.js";
import type { BuiltInPart } from "./built-in-parts.js";
import type { DeviceBinding, Hardware } from "./hardware-layout.js";
import { VIRTIO_MEM, keptMemory, wantsVirtioMem } from "./memory-slots.js";
import { SlotSet } from "./slots.js";
import { MAX_PORTS, TOPOLOGIES, slotsOf } from "./topology.js";
import type { KvmMachine, SlotPool, Topology } from "./topology.js";

export { SCSI_CONTROLLER, USB_CONTROLLER } from "./built-in-parts.js";
export type { DeviceBinding, Hardware } from "./hardware-layout.js";

export interface HardwarePolicy {
  readonly machineType: string;
  /** Root ports that are left free for devices plugged later. */
  readonly hotplugPorts: number;
}

/** The hardware of a guest that is to be started: devices that it had keep their slots. Pure. Throws `NoFreeSlotError`, `NotSupportedError`. */
export function planHardware(
  definition: GuestDefinition,
  machine: KvmMachine,
  policy: HardwarePolicy,
  previous?: Hardware,
): Hardware {
  const topology = TOPOLOGIES[machine];
  const kept =
    previous?.machine === machine ? previous.bindings.filter((binding) => stays(binding, definition, topology)) : [];
  const memory = keptMemory(definition, previous?.machine === machine ? previous : undefined);
  let hardware: Hardware = {
    machine,
    machineType: previous?.machine === machine ? previous.machineType : policy.machineType,
    ports: topology.expansion === "port" ? MAX_PORTS : 0,
    nextHandle: previous?.nextHandle ?? 0,
    bindings: [...kept, ...memory.bindings].map(({ phase: _, ...binding }) => binding),
    ...(memory.bootMemoryMiB === undefined ? {} : { bootMemoryMiB: memory.bootMemoryMiB }),
    ...(previous?.firmware === undefined || definition.firmware !== "uefi" ? {} : { firmware: previous.firmware }),
    ...(previous?.generationId === undefined ? {} : { generationId: previous.generationId }),
  };
  for (const part of builtInParts(definition, topology))
    if (bindingOf(hardware, "controller", part.id) === undefined) hardware = bindPart(hardware, topology, part);
  for (const disk of definition.disks)
    if (bindingOf(hardware, "disk", disk.id) === undefined) hardware = bindDisk(hardware, disk);
  for (const nic of definition.nics)
    if (bindingOf(hardware, "nic", nic.id) === undefined) hardware = bindNic(hardware, nic.id);
  for (const device of definition.hardware?.devices ?? [])
    if (bindingOf(hardware, "device", device.id) === undefined) hardware = bindDevice(hardware, device);
  checkScsiTargets(hardware, definition);
  if (wantsVirtioMem(definition)) hardware = bindVirtioMem(hardware, definition.memoryMiB);
  return topology.expansion === "port" ? { ...hardware, ports: portsFor(hardware, policy.hotplugPorts) } : hardware;
}

/** Gives a disk a slot, and its controller too where that is missing. */
export function bindDisk(hardware: Hardware, disk: Pick<GuestDisk, "id" | "bus">): Hardware {
  const topology = TOPOLOGIES[hardware.machine];
  const pool = topology.disks[disk.bus];
  if (pool === undefined) {
    throw new NotSupportedError({
      capability: `${disk.bus} disks`,
      message: `a ${hardware.machine} machine has no ${disk.bus} bus`,
    });
  }
  const ready = pool === "scsi" ? withController(hardware, topology, SCSI_CONTROLLER) : hardware;
  return bind(ready, topology, "disk", disk.id, pool);
}

/** Where guests find a NIC: what they name it after. */
export type NicPlace = Pick<DeviceBinding, "pool" | "slot" | "acpiIndex">;

/** Gives a NIC a slot: a free one, or the place of one that has gone. */
export function bindNic(hardware: Hardware, id: string, place?: NicPlace): Hardware {
  const topology = TOPOLOGIES[hardware.machine];
  const bound = bind(hardware, topology, "nic", id, topology.expansion);
  if (place !== undefined) return inPlace(bound, id, place);
  return topology.acpiIndex ? numbered(bound, id) : bound;
}

function inPlace(hardware: Hardware, id: string, { pool, slot, acpiIndex }: NicPlace): Hardware {
  const number = acpiIndex === undefined ? {} : { acpiIndex };
  const bindings = hardware.bindings.map((binding) =>
    binding.kind === "nic" && binding.id === id ? { ...binding, pool, slot, ...number } : binding,
  );
  return { ...hardware, bindings };
}

/** Guests that had a NIC without a number keep it so: a number would give it another name. */
function numbered(hardware: Hardware, id: string): Hardware {
  const taken = new Set(hardware.bindings.map(({ acpiIndex }) => acpiIndex));
  let acpiIndex = 1;
  while (taken.has(acpiIndex)) acpiIndex += 1;
  const bindings = hardware.bindings.map((binding) =>
    binding.kind === "nic" && binding.id === id ? { ...binding, acpiIndex } : binding,
  );
  return { ...hardware, bindings };
}

/** A SCSI controller has fewer targets than there can be disks. @throws NoFreeSlotError */
function checkScsiTargets({ bindings }: Hardware, definition: GuestDefinition): void {
  const controller = definition.hardware?.scsiController ?? "virtio-scsi";
  const most = SCSI_TARGETS[controller];
  if (bindings.some(({ pool, slot }) => pool === "scsi" && slot >= most))
    throw new NoFreeSlotError(`no SCSI target is free: a ${controller} controller has ${most}`);
}

/** Where a device of the host or the user goes. */
export function poolOfDevice({ type }: Pick<GuestDevice, "type">, topology: Topology): SlotPool {
  return type === "pciHost" || type === "mediated" ? topology.expansion : "usb";
}

/** Gives a device a slot. */
export function bindDevice(hardware: Hardware, device: Pick<GuestDevice, "id" | "type">): Hardware {
  const topology = TOPOLOGIES[hardware.machine];
  const pool = poolOfDevice(device, topology);
  if (slotsOf(topology, pool, hardware.ports).size === 0) {
    throw new NotSupportedError({
      capability: `${device.type} devices`,
      message: `a ${hardware.machine} machine has no place for a device of type ${device.type}`,
    });
  }
  return bind(hardware, topology, "device", device.id, pool);
}

/** Gives the USB controller a slot of its own, for a guest that was started without one. */
export function bindUsbController(hardware: Hardware): Hardware {
  return withController(hardware, TOPOLOGIES[hardware.machine], USB_CONTROLLER);
}

/**
 * Gives a memory module a slot; `slots` is how many the guest has. The boot memory is noted with the first.
 * @throws NoFreeSlotError
 */
export function bindMemory(hardware: Hardware, slots: number, sizeMiB: number, memoryMiB: number): Hardware {
  const { of } = slotsOf(TOPOLOGIES[hardware.machine], "dimm", 0);
  const taken = new SlotSet({ of, size: slots });
  for (const binding of hardware.bindings) if (binding.pool === "dimm") taken.reserve(binding.slot);
  const handle = `memory${hardware.nextHandle}`;
  const module: DeviceBinding = { kind: "memory", id: handle, handle, pool: "dimm", slot: taken.find(), sizeMiB };
  return {
    ...hardware,
    nextHandle: hardware.nextHandle + 1,
    bindings: [...hardware.bindings, module],
    bootMemoryMiB: hardware.bootMemoryMiB ?? memoryMiB,
  };
}

function bindVirtioMem(hardware: Hardware, memoryMiB: number): Hardware {
  if (bindingOf(hardware, "memory", VIRTIO_MEM) !== undefined) return hardware;
  const { expansion } = TOPOLOGIES[hardware.machine];
  const slot = freeSlot(hardware, TOPOLOGIES[hardware.machine], expansion);
  const device: DeviceBinding = {
    kind: "memory",
    id: VIRTIO_MEM,
    handle: VIRTIO_MEM,
    pool: expansion,
    slot,
    sizeMiB: 0,
  };
  return {
    ...hardware,
    bindings: [...hardware.bindings, device],
    bootMemoryMiB: hardware.bootMemoryMiB ?? memoryMiB,
  };
}

/** The device without its slot. */
export function unbind(hardware: Hardware, handle: string): Hardware {
  return { ...hardware, bindings: hardware.bindings.filter((binding) => binding.handle !== handle) };
}

/** The device in another phase. */
export function withPhase(hardware: Hardware, handle: string, phase: DeviceBinding["phase"]): Hardware {
  const bindings = hardware.bindings.map((binding): DeviceBinding => {
    if (binding.handle !== handle) return binding;
    const { phase: _, ...rest } = binding;
    return phase === undefined ? rest : { ...rest, phase };
  });
  return { ...hardware, bindings };
}

export function bindingOf(hardware: Hardware, kind: DeviceBinding["kind"], id: string): DeviceBinding | undefined {
  return hardware.bindings.find((binding) => binding.kind === kind && binding.id === id);
}

function stays(binding: DeviceBinding, definition: GuestDefinition, topology: Topology): boolean {
  if (binding.kind === "nic") return definition.nics.some((nic) => nic.id === binding.id);
  if (binding.kind === "memory") return false;
  if (binding.kind === "device") {
    const device = definition.hardware?.devices?.find(({ id }) => id === binding.id);
    return device !== undefined && poolOfDevice(device, topology) === binding.pool;
  }
  if (binding.kind === "controller") return needsController(binding, definition, topology);
  const disk = definition.disks.find(({ id }) => id === binding.id);
  return disk !== undefined && topology.disks[disk.bus] === binding.pool;
}

function needsController({ id, pool }: DeviceBinding, definition: GuestDefinition, topology: Topology): boolean {
  const { disks, hardware } = definition;
  if (id !== USB_CONTROLLER)
    return builtInParts(definition, topology).some((part) => part.id === id && part.pool === pool);
  return (
    disks.some((disk) => disk.bus === "usb") || hardware?.devices?.some(({ type }) => type.startsWith("usb")) === true
  );
}

function withController(hardware: Hardware, topology: Topology, id: string): Hardware {
  if (bindingOf(hardware, "controller", id) !== undefined) return hardware;
  return bindPart(hardware, topology, { id, pool: topology.expansion });
}

function bindPart(hardware: Hardware, topology: Topology, { id, pool }: BuiltInPart): Hardware {
  const slot = freeSlot(hardware, topology, pool);
  return { ...hardware, bindings: [...hardware.bindings, { kind: "controller", id, handle: id, pool, slot }] };
}

function bind(
  hardware: Hardware,
  topology: Topology,
  kind: "disk" | "nic" | "device",
  id: string,
  pool: SlotPool,
): Hardware {
  const slot = freeSlot(hardware, topology, pool);
  const binding: DeviceBinding = { kind, id, handle: `${kind}${hardware.nextHandle}`, pool, slot };
  return { ...hardware, nextHandle: hardware.nextHandle + 1, bindings: [...hardware.bindings, binding] };
}

function freeSlot(hardware: Hardware, topology: Topology, pool: SlotPool): number {
  const slots = new SlotSet(slotsOf(topology, pool, hardware.ports));
  for (const binding of hardware.bindings) if (binding.pool === pool) slots.reserve(binding.slot);
  return slots.find();
}

function portsFor(hardware: Hardware, spare: number): number {
  const used = hardware.bindings.filter((binding) => binding.pool === "port").map((binding) => binding.slot);
  return Math.min(MAX_PORTS, Math.max(used.length + spare, Math.max(-1, ...used) + 1));
}

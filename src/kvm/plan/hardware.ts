/** A guest's hardware beyond its definition: which QEMU id and which slot each device has. Kept with the guest, so that a device never moves. */
import { NotSupportedError } from "../../core/index.js";
import type { GuestDefinition, GuestDisk } from "../../driver/index.js";
import { SlotSet } from "./slots.js";
import { MAX_PORTS, TOPOLOGIES, slotsOf } from "./topology.js";
import type { KvmMachine, SlotPool, Topology } from "./topology.js";

/** The SCSI controller that all SCSI disks hang on. */
export const SCSI_CONTROLLER = "scsi0";

export interface DeviceBinding {
  readonly kind: "disk" | "nic" | "controller";
  /** Id of the disk or NIC in the definition; name of a controller. */
  readonly id: string;
  /** Id of the device in QEMU: `disk3`. Never used twice in the life of a guest. */
  readonly handle: string;
  readonly pool: SlotPool;
  readonly slot: number;
  /** `attaching`: being plugged into a running guest. `detaching`: the guest was asked to let go of it. Absent: there. */
  readonly phase?: "attaching" | "detaching";
}

export interface Hardware {
  readonly machine: KvmMachine;
  /** QEMU's full name of the machine, kept over upgrades of QEMU: `pc-q35-7.2`. */
  readonly machineType: string;
  /** How many PCI Express root ports there are; 0 on machines without. */
  readonly ports: number;
  readonly nextHandle: number;
  readonly bindings: readonly DeviceBinding[];
}

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
  let hardware: Hardware = {
    machine,
    machineType: previous?.machine === machine ? previous.machineType : policy.machineType,
    ports: topology.expansion === "port" ? MAX_PORTS : 0,
    nextHandle: previous?.nextHandle ?? 0,
    bindings: kept.map(({ kind, id, handle, pool, slot }) => ({ kind, id, handle, pool, slot })),
  };
  for (const disk of definition.disks)
    if (bindingOf(hardware, "disk", disk.id) === undefined) hardware = bindDisk(hardware, disk);
  for (const nic of definition.nics)
    if (bindingOf(hardware, "nic", nic.id) === undefined) hardware = bindNic(hardware, nic.id);
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
  const ready = pool === "scsi" ? withScsiController(hardware, topology) : hardware;
  return bind(ready, topology, "disk", disk.id, pool);
}

/** Gives a NIC a slot. */
export function bindNic(hardware: Hardware, id: string): Hardware {
  const topology = TOPOLOGIES[hardware.machine];
  return bind(hardware, topology, "nic", id, topology.expansion);
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
  if (binding.kind === "controller") return definition.disks.some((disk) => disk.bus === "scsi");
  const disk = definition.disks.find(({ id }) => id === binding.id);
  return disk !== undefined && topology.disks[disk.bus] === binding.pool;
}

function withScsiController(hardware: Hardware, topology: Topology): Hardware {
  if (bindingOf(hardware, "controller", SCSI_CONTROLLER) !== undefined) return hardware;
  const slot = freeSlot(hardware, topology, topology.expansion);
  const controller: DeviceBinding = {
    kind: "controller",
    id: SCSI_CONTROLLER,
    handle: SCSI_CONTROLLER,
    pool: topology.expansion,
    slot,
  };
  return { ...hardware, bindings: [...hardware.bindings, controller] };
}

function bind(hardware: Hardware, topology: Topology, kind: "disk" | "nic", id: string, pool: SlotPool): Hardware {
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

/** A guest's definition with one device more or less, and what of it is not settled. Pure. */
import type { GuestDefinition, GuestDevice, GuestDisk, GuestNic } from "../../../driver/index.js";
import type { DevicePhase, GuestState, UnsettledDevice } from "../state/guest-state.js";

export type DeviceKind = UnsettledDevice["kind"];

/** A device of a guest by what it is and by our id. */
export interface DeviceRef {
  readonly kind: DeviceKind;
  readonly id: string;
}

export function withDisk(definition: GuestDefinition, disk: GuestDisk): GuestDefinition {
  return { ...definition, disks: [...definition.disks.filter(({ id }) => id !== disk.id), disk] };
}

export function withNic(definition: GuestDefinition, nic: GuestNic): GuestDefinition {
  return { ...definition, nics: [...definition.nics.filter(({ id }) => id !== nic.id), nic] };
}

export function withDevice(definition: GuestDefinition, device: GuestDevice): GuestDefinition {
  const others = devicesOf(definition).filter(({ id }) => id !== device.id);
  return { ...definition, hardware: { ...definition.hardware, devices: [...others, device] } };
}

export function withoutDevice(definition: GuestDefinition, { kind, id }: DeviceRef): GuestDefinition {
  if (kind === "disk") return { ...definition, disks: definition.disks.filter((disk) => disk.id !== id) };
  if (kind === "nic") return { ...definition, nics: definition.nics.filter((nic) => nic.id !== id) };
  if (!devicesOf(definition).some((device) => device.id === id)) return definition;
  const left = devicesOf(definition).filter((device) => device.id !== id);
  const { hardware: { devices: _, ...others } = {}, ...rest } = definition;
  const hardware = left.length === 0 ? others : { ...others, devices: left };
  return Object.keys(hardware).length === 0 ? rest : { ...rest, hardware };
}

/** All that can come and go, in the definition's order. */
export function devicesOfGuest(definition: GuestDefinition): readonly DeviceRef[] {
  return [
    ...definition.disks.map(({ id }): DeviceRef => ({ kind: "disk", id })),
    ...definition.nics.map(({ id }): DeviceRef => ({ kind: "nic", id })),
    ...devicesOf(definition).map(({ id }): DeviceRef => ({ kind: "device", id })),
  ];
}

export function hasDevice(definition: GuestDefinition, { kind, id }: DeviceRef): boolean {
  return devicesOfGuest(definition).some((device) => device.kind === kind && device.id === id);
}

/** Whether the domain's metadata tells of the device. */
export function isTagged({ disks, nics }: GuestDefinition, { kind, id }: DeviceRef): boolean {
  const devices = kind === "disk" ? disks : kind === "nic" ? nics : [];
  return devices.some((device) => device.id === id && device.tag !== undefined);
}

export function phaseOf(
  { unsettled = [] }: Pick<GuestState, "unsettled">,
  { kind, id }: DeviceRef,
): DevicePhase | undefined {
  return unsettled.find((device) => device.kind === kind && device.id === id)?.phase;
}

/** The state with another mark on a device, or without; the same object where it says so already. */
export function withPhase(state: GuestState, device: DeviceRef, phase: DevicePhase | undefined): GuestState {
  if (phaseOf(state, device) === phase) return state;
  const { unsettled = [], ...rest } = state;
  const others = unsettled.filter(({ kind, id }) => kind !== device.kind || id !== device.id);
  const marks = phase === undefined ? others : [...others, { kind: device.kind, id: device.id, phase }];
  return marks.length === 0 ? rest : { ...rest, unsettled: marks };
}

function devicesOf({ hardware }: Pick<GuestDefinition, "hardware">): readonly GuestDevice[] {
  return hardware?.devices ?? [];
}

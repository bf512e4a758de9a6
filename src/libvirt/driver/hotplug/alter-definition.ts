/** A guest's definition with one device more or less. Pure. */
import type { GuestDefinition, GuestDisk, GuestNic } from "../../../driver/index.js";

export type DeviceKind = "disk" | "nic";

export function withDisk(definition: GuestDefinition, disk: GuestDisk): GuestDefinition {
  return { ...definition, disks: [...definition.disks.filter(({ id }) => id !== disk.id), disk] };
}

export function withNic(definition: GuestDefinition, nic: GuestNic): GuestDefinition {
  return { ...definition, nics: [...definition.nics.filter(({ id }) => id !== nic.id), nic] };
}

export function withoutDevice(definition: GuestDefinition, kind: DeviceKind, deviceId: string): GuestDefinition {
  if (kind === "disk") return { ...definition, disks: definition.disks.filter(({ id }) => id !== deviceId) };
  return { ...definition, nics: definition.nics.filter(({ id }) => id !== deviceId) };
}

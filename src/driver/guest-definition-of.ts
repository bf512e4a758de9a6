/** The guest that an instance's record describes. Pure. */
import type { AttachedVolume, InstanceDisk, InstanceRecord, PluggedVif } from "./instance-record.js";
import type { GuestDefinition, GuestDisk, GuestNic } from "./guest-definition.js";

/** What a definition is made from. */
export type DefinedParts = Pick<InstanceRecord, "uuid" | "name" | "spec" | "disks" | "volumes" | "vifs" | "kernel">;

export function guestDefinitionOf({ uuid, name, spec, disks, volumes, vifs, kernel }: DefinedParts): GuestDefinition {
  const { vcpus, memoryMiB, cpuTopology } = spec.flavor;
  return {
    uuid,
    name,
    vcpus,
    memoryMiB,
    ...(cpuTopology === undefined ? {} : { cpuTopology }),
    ...(spec.machine === undefined ? {} : { machine: spec.machine }),
    firmware: spec.firmware ?? "bios",
    ...(kernel === undefined ? {} : { kernel }),
    disks: [...disks.map(guestDiskOf), ...volumes.map(volumeDiskOf)],
    nics: vifs.map(guestNicOf),
    guestAgent: spec.guestAgent ?? true,
  };
}

/** A disk of the instance's own as the guest has it. */
export function guestDiskOf(disk: InstanceDisk): GuestDisk {
  const { name, source, bus, deviceName, bootIndex } = disk;
  const boot = bootIndex === undefined ? {} : { bootIndex };
  return { id: name, source, bus, deviceType: "disk", deviceName, readOnly: false, shareable: false, ...boot };
}

/** The id that a volume's disk has within any guest. */
export function volumeDiskId(volumeId: string): string {
  return `volume-${volumeId}`;
}

/** A volume as the guest has it. */
export function volumeDiskOf(volume: AttachedVolume): GuestDisk {
  const { diskId, source, bus, deviceType, deviceName, bootIndex, connection } = volume;
  return {
    id: diskId,
    source,
    bus,
    deviceType,
    deviceName,
    readOnly: connection.readOnly === true || deviceType === "cdrom",
    shareable: connection.multiattach === true,
    serial: connection.volumeId.slice(0, 20),
    ...(bootIndex === undefined ? {} : { bootIndex }),
  };
}

/** A port as the guest has it. */
export function guestNicOf({ vif, backend }: PluggedVif): GuestNic {
  const { mtu } = vif.network;
  return {
    id: vif.id,
    macAddress: vif.macAddress,
    model: vif.model ?? "virtio",
    backend,
    queues: vif.queues ?? 1,
    ...(mtu === undefined ? {} : { mtu }),
  };
}

/** The guest that an instance's record describes. Pure. */
import type { AttachedVolume, EmptyDrive, InstanceDisk, InstanceRecord, PluggedVif } from "./instance-record.js";
import type { DeviceType } from "./instance-spec.js";
import type { DiskLimits, DiskTuning } from "./disk-tuning.js";
import type { GuestDefinition, GuestDisk, GuestNic } from "./guest-definition.js";

/** What a definition is made from. */
export type DefinedParts = Pick<
  InstanceRecord,
  "uuid" | "name" | "spec" | "disks" | "volumes" | "emptyDrives" | "vifs" | "kernel"
>;

/** Name of the disk that a rescued instance boots from, before anything else. */
export const RESCUE_DISK = "rescue";

function unbooted({ bootIndex: _bootIndex, ...nic }: GuestNic): GuestNic {
  return nic;
}

export function guestDefinitionOf(parts: DefinedParts): GuestDefinition {
  const { uuid, name, spec, disks, volumes, emptyDrives = [], vifs, kernel } = parts;
  const { vcpus, memoryMiB, cpuTopology } = spec.flavor;
  const own = disks.map((disk) => guestDiskOf(disk, spec.diskTuning));
  return {
    uuid,
    name,
    vcpus,
    memoryMiB,
    ...(cpuTopology === undefined ? {} : { cpuTopology }),
    ...(spec.machine === undefined ? {} : { machine: spec.machine }),
    firmware: spec.firmware ?? "bios",
    ...(kernel === undefined ? {} : { kernel }),
    disks: [...own, ...volumes.map(volumeDiskOf), ...emptyDrives.map(emptyDriveOf)],
    nics: disks.some(({ name }) => name === RESCUE_DISK) ? vifs.map(guestNicOf).map(unbooted) : vifs.map(guestNicOf),
    guestAgent: spec.guestAgent ?? true,
    ...(spec.hardware === undefined ? {} : { hardware: spec.hardware }),
    ...(spec.platform === undefined ? {} : { platform: spec.platform }),
    ...(spec.metadata === undefined ? {} : { metadata: spec.metadata }),
  };
}

/** A disk of the instance's own as the guest has it. */
export function guestDiskOf(disk: InstanceDisk, tuning?: DiskTuning): GuestDisk {
  const { name, source, bus, deviceName, bootIndex, limits, deviceType = "disk", readOnly = false } = disk;
  const tuned = limits === undefined ? tuning : withLimits(tuning, limits);
  return {
    ...{ id: name, source, bus, deviceType, deviceName, readOnly, shareable: false },
    ...(bootIndex === undefined ? {} : { bootIndex }),
    ...(tuned === undefined ? {} : { tuning: tuned }),
  };
}

/** The tuning with other limits, none when they are empty. */
export function withLimits(tuning: DiskTuning = {}, limits: DiskLimits): DiskTuning {
  const { limits: _limits, ...rest } = tuning;
  return Object.keys(limits).length === 0 ? rest : { ...rest, limits };
}

/** The id that a volume's disk has within any guest. The medium of a drive can change under it: its id is its place. */
export function volumeDiskId(volumeId: string, deviceType: DeviceType, deviceName: string): string {
  return deviceType === "disk" ? `volume-${volumeId}` : driveId(deviceName);
}

export function driveId(deviceName: string): string {
  return `drive-${deviceName}`;
}

/** A volume as the guest has it. */
export function volumeDiskOf(volume: AttachedVolume): GuestDisk {
  const { diskId, source, bus, deviceType, deviceName, bootIndex, connection, tag, tuning } = volume;
  return {
    id: diskId,
    source,
    bus,
    deviceType,
    deviceName,
    readOnly: connection.readOnly === true || deviceType === "cdrom",
    shareable: connection.multiattach === true,
    // A drive is the same whatever is in it.
    ...(deviceType === "disk" ? { serial: connection.volumeId.slice(0, 20) } : {}),
    ...(bootIndex === undefined ? {} : { bootIndex }),
    ...(tag === undefined ? {} : { tag }),
    ...(tuning === undefined ? {} : { tuning }),
  };
}

/** A drive without a medium as the guest has it. */
export function emptyDriveOf({ diskId, bus, deviceType, deviceName, bootIndex, tag, tuning }: EmptyDrive): GuestDisk {
  return {
    ...{ id: diskId, bus, deviceType, deviceName, readOnly: deviceType === "cdrom", shareable: false },
    ...(bootIndex === undefined ? {} : { bootIndex }),
    ...(tag === undefined ? {} : { tag }),
    ...(tuning === undefined ? {} : { tuning }),
  };
}

/** A port as the guest has it. */
export function guestNicOf({ vif, backend }: PluggedVif): GuestNic {
  const { mtu } = vif.network;
  const { bootIndex, tag } = vif;
  return {
    id: vif.id,
    macAddress: vif.macAddress,
    model: vif.model ?? "virtio",
    backend,
    queues: vif.queues ?? 1,
    ...(mtu === undefined ? {} : { mtu }),
    ...(bootIndex === undefined ? {} : { bootIndex }),
    ...(tag === undefined ? {} : { tag }),
  };
}

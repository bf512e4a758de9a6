/** The CD and floppy drives of an instance, with a volume in them or not. Pure. */
import type { AttachedVolume, EmptyDrive, InstanceRecord } from "./instance-record.js";
import type { BlockDevice } from "./instance-spec.js";
import { DiskNotFoundError } from "./errors.js";
import { InvalidArgumentError } from "../core/index.js";
import type { VolumeConnection } from "../storage/index.js";

/** A drive as it stands. */
export interface Drive {
  readonly place: EmptyDrive;
  /** What is in it. */
  readonly volume?: AttachedVolume;
}

/** The drive of this id, or with the volume of this id in it. @throws DiskNotFoundError; InvalidArgumentError when the disk is no drive. */
export function requireDrive(record: InstanceRecord, name: string): Drive {
  const empty = record.emptyDrives?.find(({ diskId }) => diskId === name);
  if (empty !== undefined) return { place: empty };
  const volume =
    record.volumes.find(({ diskId }) => diskId === name) ??
    record.volumes.find(({ connection }) => connection.volumeId === name);
  const isOwn = record.disks.some((disk) => disk.name === name);
  if (isOwn || volume?.deviceType === "disk")
    throw new InvalidArgumentError({ field: "drive", value: name, expected: "a cdrom or floppy drive" });
  if (volume === undefined)
    throw new DiskNotFoundError(`the instance has no drive ${name}`, { instance: record, device: name });
  const { connection: _connection, source: _source, ...place } = volume;
  return { place, volume };
}

/** The record with another volume in the drive, or none. */
export function withMedium(record: InstanceRecord, { place }: Drive, now: AttachedVolume | undefined): InstanceRecord {
  const { emptyDrives = [], ...rest } = record;
  const { diskId } = place;
  const known = record.volumes.find((volume) => volume.diskId === diskId);
  const empty = emptyDrives.filter((drive) => drive.diskId !== diskId);
  const drives = now === undefined ? [...empty, place] : empty;
  const volumes = record.volumes.flatMap((volume) => (volume.diskId === diskId ? (now ?? []) : volume));
  const added = now !== undefined && known === undefined ? [...volumes, now] : volumes;
  const blockDevices = withConnection(record, place, known?.connection, now?.connection);
  const changed = { ...rest, spec: { ...record.spec, blockDevices }, volumes: added };
  return drives.length === 0 ? changed : { ...changed, emptyDrives: drives };
}

/** The spec's devices with another connection in the drive's entry; what was only claimed for it is gone. */
function withConnection(
  { spec }: InstanceRecord,
  { deviceName }: EmptyDrive,
  old: VolumeConnection | undefined,
  now: VolumeConnection | undefined,
): readonly BlockDevice[] {
  const isDrive = (device: BlockDevice): boolean =>
    old === undefined
      ? device.connection === undefined && device.deviceName === deviceName
      : device.connection?.volumeId === old.volumeId;
  return (spec.blockDevices ?? []).flatMap((device): readonly BlockDevice[] => {
    const { connection, ...place } = device;
    if (isDrive(device)) return [{ ...place, deviceName, ...(now === undefined ? {} : { connection: now }) }];
    return now !== undefined && connection?.volumeId === now.volumeId ? [] : [device];
  });
}

/** The record with a volume among those that the instance is about to have, so that nobody else takes it. */
export function claimingVolume(record: InstanceRecord, connection: VolumeConnection): InstanceRecord {
  return { ...record, spec: { ...record.spec, blockDevices: [...(record.spec.blockDevices ?? []), { connection }] } };
}

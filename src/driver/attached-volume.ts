/** The volume of an instance that a call is about. */
import type { AttachedVolume, InstanceRecord } from "./instance-record.js";
import { DiskNotFoundError } from "./errors.js";

/** @throws DiskNotFoundError when the volume is not attached. */
export function requireVolume(record: InstanceRecord, volumeId: string): AttachedVolume {
  const volume = record.volumes.find(({ connection }) => connection.volumeId === volumeId);
  if (volume === undefined)
    throw new DiskNotFoundError(`volume ${volumeId} is not attached to the instance`, {
      instance: record,
      device: volumeId,
    });
  return volume;
}

/** The record with another connection in the place of one of its volumes; as it is when it has that already. */
export function withVolume(record: InstanceRecord, old: AttachedVolume, now: AttachedVolume): InstanceRecord {
  const { volumeId } = old.connection;
  if (!(record.spec.blockDevices ?? []).some(({ connection }) => connection?.volumeId === volumeId)) return record;
  const blockDevices = (record.spec.blockDevices ?? [])
    .filter(({ connection }) => connection?.volumeId === volumeId || connection?.volumeId !== now.connection.volumeId)
    .map((device) => (device.connection?.volumeId === volumeId ? { ...device, connection: now.connection } : device));
  const volumes = record.volumes.map((volume) => (volume.diskId === old.diskId ? now : volume));
  return { ...record, spec: { ...record.spec, blockDevices }, volumes };
}

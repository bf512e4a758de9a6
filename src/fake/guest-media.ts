/** Media of a simulated guest's drives, and limits of its disks. */
import { DeviceAttachError, DeviceDetachError, DiskNotFoundError, InvalidStateError } from "../driver/index.js";
import type { DiskLimits, GuestDisk } from "../driver/index.js";
import type { DiskSource } from "../storage/index.js";
import { diskObstacle, lockDisk, unlockDisk } from "./guest-devices.js";
import { diskOf } from "./guest-disks.js";
import { inMemory } from "./guest-record.js";
import type { GuestRecord } from "./guest-record.js";
import type { FakeHost } from "./host.js";
import type { Halfway } from "./process.js";

export async function changeMedium(
  host: FakeHost,
  record: GuestRecord,
  diskId: string,
  source: DiskSource | undefined,
  force: boolean,
  halfway: Halfway,
): Promise<void> {
  refuseSuspended(record, "changeMedium");
  const { uuid } = record.definition;
  const { source: present, ...drive } = diskOf(record.definition, diskId);
  if (drive.deviceType === "disk")
    throw new DiskNotFoundError("The guest has no such drive", { instance: record.definition, device: diskId });
  const locked = inMemory(record) && record.booted && host.behaviourOf(uuid).tray === "locked";
  if (locked && present !== undefined && !force)
    throw new DeviceDetachError("The guest has locked the drive", { instance: record.definition, device: diskId });
  const loaded: GuestDisk = source === undefined ? drive : { ...drive, source };
  const obstacle = inMemory(record) ? diskObstacle(host, uuid, loaded) : undefined;
  if (obstacle !== undefined)
    throw new DeviceAttachError("The medium can't be opened", {
      instance: record.definition,
      device: diskId,
      detail: obstacle,
    });
  put(host, record, drive);
  await halfway();
  if (source !== undefined) put(host, record, loaded);
}

function put(host: FakeHost, record: GuestRecord, disk: GuestDisk): void {
  const { definition } = record;
  if (inMemory(record)) {
    unlockDisk(host, definition.uuid, diskOf(definition, disk.id));
    lockDisk(host, definition.uuid, disk);
  }
  record.definition = { ...definition, disks: definition.disks.map((one) => (one.id === disk.id ? disk : one)) };
}

export function limitDisk(record: GuestRecord, diskId: string, limits: DiskLimits): void {
  refuseSuspended(record, "limitDisk");
  const disk = diskOf(record.definition, diskId);
  const { limits: _limits, ...rest } = disk.tuning ?? {};
  const tuning = Object.keys(limits).length === 0 ? rest : { ...rest, limits };
  const limited = { ...disk, tuning };
  const disks = record.definition.disks.map((one) => (one.id === diskId ? limited : one));
  record.definition = { ...record.definition, disks };
}

function refuseSuspended(record: GuestRecord, operation: string): void {
  if (record.state !== "suspended") return;
  const expected = ["running", "paused", "shutdown", "crashed"];
  throw new InvalidStateError({ operation, state: record.state, expected, instance: record.definition });
}

/** `changeMedium`: another volume in a CD or floppy drive. */
import { check, ConflictError, InvalidArgumentError, NotSupportedError } from "../../core/index.js";
import type { JsonObject, OperationOptions, OperationRecord } from "../../core/index.js";
import { admit } from "../admission.js";
import { attachedDiskOf, emptyDiskOf } from "./list-disks.js";
import type { AttachedDisk } from "../facets/volumes.js";
import type { AttachedVolume, InstanceRecord } from "../instance-record.js";
import { claimingVolume, requireDrive, withMedium } from "../removable-drive.js";
import type { Drive } from "../removable-drive.js";
import { connectionCheck } from "../validate-volume.js";
import { connectorOf } from "../volume-connectors.js";
import { connectVolume, writeRecord } from "../operation-steps.js";
import { disconnectVolume } from "../effects.js";
import type { Guest } from "../guest.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { limited, requireGuest, requireState } from "../guest-actions.js";
import type { Operation } from "../operation.js";
import { requireNoTask } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import type { VolumeConnection } from "../../storage/index.js";

const driveCheck = check.string({ max: 160, charset: "name" });
const flag = check.boolean();

interface Request {
  readonly drive: string;
  readonly medium: VolumeConnection | undefined;
  readonly force: boolean;
}

export async function changeMedium(
  host: HostContext,
  given: InstanceRef,
  drive: string,
  givenMedium: VolumeConnection | undefined,
  options: OperationOptions & { readonly force?: boolean } = {},
): Promise<AttachedDisk> {
  const instance = admit(host, given);
  const medium = givenMedium === undefined ? undefined : connectionCheck(givenMedium, "medium");
  const wanted = { drive: driveCheck(drive, "drive"), medium, force: flag(options.force ?? false, "options.force") };
  if (medium !== undefined) connectorOf(host, medium).validate(medium, "medium");
  const timeoutMs = 2 * host.timeouts.attachMs;
  return runOperation(host, { kind: "changeMedium", instance, options, timeoutMs }, (operation) =>
    change(operation, wanted),
  );
}

async function change(operation: Operation, { drive: name, medium, force }: Request): Promise<AttachedDisk> {
  const { host, instance, signal } = operation;
  const record = host.records.require(instance.uuid);
  requireNoTask(record, "changeMedium");
  const drive = requireDrive(record, name);
  const { place, volume: old } = drive;
  if (old?.connection.volumeId === medium?.volumeId)
    return old === undefined ? emptyDiskOf(place) : attachedDiskOf(old);
  if (medium !== undefined) refuseUnfit(host, record, place.deviceType, medium);
  const guest = await requireGuest(host, instance.uuid, signal);
  await requireState(guest, "changeMedium", ["running", "paused", "shutdown", "crashed"], signal);
  const fresh = medium === undefined ? undefined : await connect(operation, record, drive, medium);
  await insert(operation, guest, drive, fresh, force);
  await operation.passPointOfNoReturn({ drive, ...(fresh === undefined ? {} : { fresh }) } as unknown as JsonObject);
  await finish(host, instance.uuid, drive, fresh);
  return fresh === undefined ? emptyDiskOf(place) : attachedDiskOf(fresh);
}

/** Finishes a change whose drive has the new medium. Repeatable. */
export async function finishChangeMedium(host: HostContext, operation: OperationRecord): Promise<void> {
  const { drive, fresh } = operation.params as unknown as { readonly drive: Drive; readonly fresh?: AttachedVolume };
  if (operation.instanceUuid !== undefined) await finish(host, operation.instanceUuid, drive, fresh);
}

async function connect(
  operation: Operation,
  record: InstanceRecord,
  { place }: Drive,
  connection: VolumeConnection,
): Promise<AttachedVolume> {
  await writeRecord(operation, claimingVolume(record, connection));
  operation.progress("connect");
  return connectVolume(operation, { ...place, connection });
}

async function insert(
  operation: Operation,
  guest: Guest,
  { place, volume }: Drive,
  fresh: AttachedVolume | undefined,
  force: boolean,
): Promise<void> {
  const { host, signal } = operation;
  const { diskId } = place;
  operation.progress("insert");
  await operation.effect("medium", { uuid: guest.uuid, diskId, from: volume?.source ?? null }, () =>
    limited(host, host.timeouts.attachMs, "changing the medium", signal, async (limit) => {
      if (guest.changeMedium === undefined) throw new NotSupportedError({ capability: "removableMedia" });
      await guest.changeMedium(diskId, fresh?.source, { force, signal: limit });
    }),
  );
}

async function finish(host: HostContext, uuid: string, drive: Drive, fresh: AttachedVolume | undefined): Promise<void> {
  if (host.records.get(uuid) !== undefined)
    await host.records.update(uuid, (record) => withMedium(record, drive, fresh));
  if (drive.volume !== undefined) await disconnectVolume(host, drive.volume.connection, uuid);
}

/** @throws ConflictError when the volume is on this or, not being multiattach, on another instance; InvalidArgumentError when the drive would write to it. */
function refuseUnfit(
  host: HostContext,
  { uuid }: InstanceRecord,
  deviceType: AttachedVolume["deviceType"],
  { volumeId, multiattach, readOnly }: VolumeConnection,
): void {
  if (deviceType === "floppy" && readOnly === true)
    throw new InvalidArgumentError({ field: "medium.readOnly", value: true, expected: "false for a floppy drive" });
  const holders = host.records.volumeHolders(volumeId);
  if (holders.length === 0 || (multiattach === true && !holders.includes(uuid))) return;
  throw new ConflictError(`volume ${volumeId} is attached already`, { device: volumeId });
}

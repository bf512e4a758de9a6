/** Backups as they are asked for: what of a request is not to be had, whatever hypervisor makes them. */
import { ConflictError, InvalidArgumentError, NotSupportedError, check } from "../core/index.js";
import type { Check, CommonOptions, InstanceRef } from "../core/index.js";
import { CheckpointNotFoundError } from "../driver/index.js";
import type { GuestBackupRequest, GuestCheckpoint } from "../driver/index.js";
import { DISK_SOURCE_FORMATS } from "../storage/index.js";
import type { OnCopyProgress } from "./copy-progress.js";

export interface GuestBackupOptions extends CommonOptions {
  /** Called once the point is fixed. */
  readonly onPointInTime?: () => void;
  readonly onCopyProgress?: OnCopyProgress;
}

/** A guest as far as its backups go. */
interface BackedUpGuest {
  readonly instance: InstanceRef;
  readonly state: { readonly checkpoints?: readonly GuestCheckpoint[] };
}

export const backupRequestCheck: Check<GuestBackupRequest> = check.object({
  disks: check.array(
    check.object({
      diskId: check.string({ max: 255 }),
      path: check.absolutePath(),
      format: check.oneOf(DISK_SOURCE_FORMATS),
    }),
    { min: 1, max: 256 },
  ),
  since: check.optional(check.string({ max: 64, charset: "name" })),
  checkpoint: check.optional(check.string({ max: 64, charset: "name" })),
});

/** @throws InvalidArgumentError for what contradicts itself, ConflictError for a checkpoint that is there already */
export function refuseBackup(guest: BackedUpGuest, { disks, since, checkpoint }: GuestBackupRequest): void {
  const { checkpoints = [] } = guest.state;
  const twice = disks.findIndex(({ diskId }, index) => disks.findIndex((disk) => disk.diskId === diskId) !== index);
  if (twice >= 0)
    throw new InvalidArgumentError({
      field: `request.disks[${twice}].diskId`,
      value: disks[twice]?.diskId,
      expected: "each disk once",
    });
  const raw = disks.findIndex(({ format }) => format !== "qcow2");
  if (since !== undefined && raw >= 0)
    throw new InvalidArgumentError({
      field: `request.disks[${raw}].format`,
      value: disks[raw]?.format,
      expected: "qcow2 for what has changed since a checkpoint",
    });
  if (checkpoint !== undefined && checkpoints.some(({ name }) => name === checkpoint))
    throw new ConflictError(`the guest has a checkpoint ${checkpoint}`, { instance: guest.instance });
}

/**
 * One disk of the request, by the format that it has in the guest.
 * @throws NotSupportedError where it can't keep track of changes, CheckpointNotFoundError where it was not in the checkpoint
 */
export function refuseBackupOf(
  guest: BackedUpGuest,
  { since, checkpoint }: GuestBackupRequest,
  diskId: string,
  format: string | undefined,
): void {
  const { checkpoints = [] } = guest.state;
  if ((since !== undefined || checkpoint !== undefined) && format !== "qcow2") {
    throw new NotSupportedError({
      capability: "checkpoints of a disk that is not qcow2",
      message: `disk ${diskId} can't keep track of changes: it is not qcow2`,
    });
  }
  if (since !== undefined && !checkpoints.some(({ name, diskIds }) => name === since && diskIds.includes(diskId)))
    throw checkpointNotFound(since, diskId);
}

export function checkpointNotFound(name: string, device: string, cause?: unknown): CheckpointNotFoundError {
  return new CheckpointNotFoundError(`disk ${device} has no checkpoint ${name}`, {
    device,
    remedy: "Make a full backup.",
    ...(cause === undefined ? {} : { cause }),
  });
}

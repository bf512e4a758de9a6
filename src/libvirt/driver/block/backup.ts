/** Backups of a running guest's disks: whole, or what has changed since a checkpoint; of several disks at one point in time. */
import { ConflictError, InvalidArgumentError, NotSupportedError, check } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { CheckpointNotFoundError } from "../../../driver/index.js";
import type { CopyProgress, GuestBackupRequest } from "../../../driver/index.js";
import { DISK_SOURCE_FORMATS } from "../../../storage/index.js";
import type { GuestCore } from "../guest-core.js";
import type { Checkpoint } from "../state/guest-work.js";
import { forgetCheckpoint, isLost, libvirtCheckpointName, removeForgotten } from "./checkpoints.js";
import { requireLive } from "./live-disk.js";
import { pushBackup } from "./push-backup.js";
import { refuseTaken } from "./target-file.js";
import { withWork } from "./work.js";

export interface BackupOptions extends CommonOptions {
  /** Called once the point is fixed. */
  readonly onPointInTime?: () => void;
  readonly onCopyProgress?: (progress: CopyProgress) => void;
}

const requestCheck = check.object({
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

/**
 * Backs up disks to new files.
 * @throws InvalidArgumentError, DiskNotFoundError; NotSupportedError for checkpoints of a disk that is not qcow2; CheckpointNotFoundError; ConflictError when a file or the checkpoint
 * is there already; DiskFullError, StorageError, HostIoError, InvalidStateError, BusyError, AbortedError. Then no file is left and no checkpoint is set.
 */
export async function backupDisks(core: GuestCore, given: GuestBackupRequest, options: BackupOptions): Promise<void> {
  const request = requestCheck(given, "request");
  const { disks, since, checkpoint } = request;
  const createdAt = core.host.clock.now();
  const set: Checkpoint | undefined =
    checkpoint === undefined
      ? undefined
      : {
          name: checkpoint,
          libvirtName: libvirtCheckpointName(checkpoint, createdAt),
          createdAt,
          diskIds: disks.map(({ diskId }) => diskId),
        };
  await withWork(
    core,
    "backup",
    options,
    async () => {
      await refuse(core, request);
      if (since !== undefined || set !== undefined) await removeForgotten(core);
      const noted = set === undefined ? {} : { checkpoint: set.libvirtName };
      return { kind: "backup", targets: [], files: disks.map(({ path }) => path), ...noted };
    },
    async (context) => {
      const { onPointInTime, onCopyProgress } = options;
      const from = core.state.checkpoints?.find(({ name }) => name === since)?.libvirtName;
      try {
        await pushBackup(core, context, disks, {
          since: from,
          checkpoint: set?.libvirtName,
          onPointInTime,
          onCopyProgress,
        });
      } catch (error) {
        if (since === undefined || !isLost(error)) throw error;
        await forgetCheckpoint(core, since);
        throw checkpointNotFound(since, disks[0]?.diskId ?? "", error);
      }
      return (state) => (set === undefined ? state : { ...state, checkpoints: [...(state.checkpoints ?? []), set] });
    },
  );
}

/** What of a request is not to be had, before anything is touched. */
async function refuse(core: GuestCore, { disks, since, checkpoint }: GuestBackupRequest): Promise<void> {
  const { checkpoints = [] } = core.state;
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
    throw new ConflictError(`the guest has a checkpoint ${checkpoint}`, { instance: core.instance });
  for (const { diskId } of disks) {
    const { format } = await requireLive(core, diskId);
    if ((since !== undefined || checkpoint !== undefined) && format !== "qcow2") {
      throw new NotSupportedError({
        capability: "checkpoints of a disk that is not qcow2",
        message: `disk ${diskId} can't keep track of changes: it is not qcow2`,
      });
    }
    if (since !== undefined && !checkpoints.some(({ name, diskIds }) => name === since && diskIds.includes(diskId)))
      throw checkpointNotFound(since, diskId);
  }
  await refuseTaken(disks.map(({ path }) => path));
}

function checkpointNotFound(name: string, device: string, cause?: unknown): CheckpointNotFoundError {
  return new CheckpointNotFoundError(`disk ${device} has no checkpoint ${name}`, {
    device,
    remedy: "Make a full backup.",
    ...(cause === undefined ? {} : { cause }),
  });
}

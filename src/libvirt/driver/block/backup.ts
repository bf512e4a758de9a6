/** Backups of a running guest's disks: whole, or what has changed since a checkpoint; of several disks at one point in time. */
import type { GuestBackupRequest } from "../../../driver/index.js";
import { backupRequestCheck, checkpointNotFound, refuseBackup, refuseBackupOf } from "../../../hypervisor/index.js";
import type { GuestBackupOptions } from "../../../hypervisor/index.js";
import type { GuestCore } from "../guest-core.js";
import type { Checkpoint } from "../state/guest-work.js";
import { forgetCheckpoint, isLost, libvirtCheckpointName, removeForgotten } from "./checkpoints.js";
import { requireLive } from "./live-disk.js";
import { pushBackup } from "./push-backup.js";
import { refuseTaken } from "./target-file.js";
import { withWork } from "./work.js";

/**
 * Backs up disks to new files.
 * @throws InvalidArgumentError, DiskNotFoundError; NotSupportedError for checkpoints of a disk that is not qcow2; CheckpointNotFoundError; ConflictError when a file or the checkpoint
 * is there already; DiskFullError, StorageError, HostIoError, InvalidStateError, BusyError, AbortedError. Then no file is left and no checkpoint is set.
 */
export async function backupDisks(
  core: GuestCore,
  given: GuestBackupRequest,
  options: GuestBackupOptions,
): Promise<void> {
  const request = backupRequestCheck(given, "request");
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
async function refuse(core: GuestCore, request: GuestBackupRequest): Promise<void> {
  refuseBackup(core, request);
  for (const { diskId } of request.disks)
    refuseBackupOf(core, request, diskId, (await requireLive(core, diskId)).format);
  await refuseTaken(request.disks.map(({ path }) => path));
}

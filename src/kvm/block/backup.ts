/** Backups of a running guest's disks: whole, or what has changed since a checkpoint; of several disks at one point in time. */
import { ConflictError, InvalidArgumentError, NotSupportedError, check } from "../../core/index.js";
import type { CommonOptions, JsonObject } from "../../core/index.js";
import { CheckpointNotFoundError } from "../../driver/index.js";
import type { CopyProgress, GuestBackupDisk, GuestBackupRequest, GuestCheckpoint } from "../../driver/index.js";
import { DISK_SOURCE_FORMATS } from "../../storage/index.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";
import type { Checkpoint } from "../state/guest-work.js";
import { addBitmap, bitmapName, isWhole, removeBitmap, sourcesOf, transact } from "./checkpoint-bitmaps.js";
import { JOB_RULES, jobProgress, notify, reach, withProgress } from "./job.js";
import { diskHandle, layersOf, requireDrive } from "./nodes.js";
import { formatJob, openTarget, refuseTaken } from "./target-file.js";
import { withWork } from "./work.js";
import type { WorkContext } from "./work.js";

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

/** Bitmap of all that a backup copies, put together from those of a chain. */
function changesBitmap(handle: string): string {
  return `hypervise-changes-${handle}`;
}

/**
 * Backs up disks to new files.
 * @throws InvalidArgumentError, DiskNotFoundError; NotSupportedError for checkpoints of a disk that is not qcow2; CheckpointNotFoundError; ConflictError when a file or the checkpoint
 * is there already; DiskFullError, StorageError, HostIoError, InvalidStateError, BusyError, AbortedError. Then no file is left and no checkpoint is set.
 */
export async function backupDisks(core: GuestCore, given: GuestBackupRequest, options: BackupOptions): Promise<void> {
  const request = requestCheck(given, "request");
  const { disks, since, checkpoint } = request;
  const jobs = disks.map(({ diskId }) => `backup-${diskHandle(core, diskId)}`);
  const createdAt = core.host.clock.now();
  const bitmap = checkpoint === undefined ? undefined : bitmapName(checkpoint, createdAt);
  await withWork(
    core,
    "backup",
    options,
    async ({ session }) => {
      await refuse(core, session, request);
      const handles = disks.map(({ diskId }) => diskHandle(core, diskId));
      const changes = since === undefined ? [] : handles.map(changesBitmap);
      return {
        diskIds: disks.map(({ diskId }) => diskId),
        jobs: [...jobs, ...handles.map(formatJob)],
        files: disks.map(({ path }) => path),
        bitmaps: [...changes, ...(bitmap === undefined ? [] : [bitmap])],
      };
    },
    async (context) => {
      const { session, deadline } = context;
      const actions: JsonObject[] = [];
      for (const disk of disks) actions.push(...(await prepareDisk(core, context, disk, { since, bitmap })));
      deadline.throwIfExpired();
      await transact(session, actions);
      notify(options.onPointInTime);
      await withProgress(
        core,
        () => jobProgress(session, jobs),
        options.onCopyProgress,
        async () => {
          for (const job of jobs) await reach(session, job, "concluded", deadline);
        },
      );
      if (since !== undefined)
        for (const { diskId } of disks) await removeBitmap(core, session, changesBitmap(diskHandle(core, diskId)));
      if (checkpoint === undefined || bitmap === undefined) return (state) => state;
      const added: Checkpoint = { name: checkpoint, bitmap, createdAt, diskIds: disks.map(({ diskId }) => diskId) };
      return (state) => ({ ...state, checkpoints: [...(state.checkpoints ?? []), added] });
    },
  );
}

/** Oldest first; of a guest that is not in memory as last known. */
export function listCheckpoints(core: GuestCore): readonly GuestCheckpoint[] {
  const { checkpoints = [] } = core.state;
  return checkpoints.map(({ name, createdAt, diskIds }) => ({ name, createdAt, diskIds }));
}

/** Forgets a checkpoint; success when there is none. Its bitmaps go at once from a guest in memory, else when it is started. */
export async function deleteCheckpoint(core: GuestCore, name: string): Promise<void> {
  const { session } = core;
  const found = core.state.checkpoints?.find((checkpoint) => checkpoint.name === name);
  if (found === undefined) return;
  await core.update((state) => ({
    ...state,
    checkpoints: (state.checkpoints ?? []).filter((checkpoint) => checkpoint.name !== name),
  }));
  if (session !== undefined) await removeBitmap(core, session, found.bitmap);
}

/** What of a request is not to be had, before anything is touched. */
async function refuse(core: GuestCore, session: GuestSession, request: GuestBackupRequest): Promise<void> {
  const { disks, since, checkpoint } = request;
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
  if (checkpoints.some(({ name }) => name === checkpoint))
    throw new ConflictError(`the guest has a checkpoint ${checkpoint ?? ""}`);
  for (const { diskId } of disks) {
    const drive = await requireDrive(core, session, diskId);
    const [top] = await layersOf(session, drive);
    if ((since !== undefined || checkpoint !== undefined) && top?.format !== "qcow2") {
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

/** Makes the file of a disk's backup. Gives the actions that begin it. */
async function prepareDisk(
  core: GuestCore,
  { session, deadline }: WorkContext,
  { diskId, path, format }: GuestBackupDisk,
  { since, bitmap }: { readonly since: string | undefined; readonly bitmap: string | undefined },
): Promise<readonly JsonObject[]> {
  const drive = await requireDrive(core, session, diskId);
  const { handle, inserted } = drive;
  const { node, sizeBytes } = inserted;
  const target = await openTarget(core, session, handle, { path, format, sizeBytes }, deadline);
  const job = {
    ...JOB_RULES,
    "job-id": `backup-${handle}`,
    device: node,
    target,
    "filter-node-name": `${handle}-copying`,
  };
  const set = bitmap === undefined ? [] : [addBitmap(node, bitmap)];
  if (since === undefined) return [...set, { type: "blockdev-backup", data: { ...job, sync: "full" } }];
  const name = changesBitmap(handle);
  const changes = await changesSince(core, session, diskId, since);
  return [
    { type: "block-dirty-bitmap-add", data: { node, name, disabled: true } },
    { type: "block-dirty-bitmap-merge", data: { node, target: name, bitmaps: changes } },
    ...set,
    { type: "blockdev-backup", data: { ...job, sync: "bitmap", bitmap: name, "bitmap-mode": "never" } },
  ];
}

/** Where the changes of a disk since a checkpoint are noted. @throws CheckpointNotFoundError */
async function changesSince(
  core: GuestCore,
  session: GuestSession,
  diskId: string,
  since: string,
): Promise<readonly JsonObject[]> {
  const layers = await layersOf(session, await requireDrive(core, session, diskId));
  const bitmap = core.state.checkpoints?.find(({ name }) => name === since)?.bitmap;
  if (bitmap === undefined || !isWhole(layers, bitmap)) throw checkpointNotFound(since, diskId);
  return sourcesOf(layers, bitmap);
}

function checkpointNotFound(name: string, device: string): CheckpointNotFoundError {
  return new CheckpointNotFoundError(`disk ${device} has no checkpoint ${name}`, {
    device,
    remedy: "Make a full backup.",
  });
}

/** Backups of a running guest's disks: whole, or what has changed since a checkpoint; of several disks at one point in time. */
import type { JsonObject } from "../../core/index.js";
import type { GuestBackupDisk, GuestBackupRequest, GuestCheckpoint } from "../../driver/index.js";
import {
  backupRequestCheck,
  checkpointNotFound,
  notify,
  refuseBackup,
  refuseBackupOf,
  withCopyProgress,
} from "../../hypervisor/index.js";
import type { GuestBackupOptions } from "../../hypervisor/index.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";
import type { Checkpoint } from "../state/guest-work.js";
import { addBitmap, bitmapName, isWhole, removeBitmap, sourcesOf, transact } from "./checkpoint-bitmaps.js";
import { JOB_RULES, jobProgress, reach } from "./job.js";
import { diskHandle, layersOf, requireDrive } from "./nodes.js";
import { formatJob, openTarget, refuseTaken } from "./target-file.js";
import { withWork } from "./work.js";
import type { WorkContext } from "./work.js";

/** Bitmap of all that a backup copies, put together from those of a chain. */
function changesBitmap(handle: string): string {
  return `hypervise-changes-${handle}`;
}

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
      await withCopyProgress(
        core.host,
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
  refuseBackup(core, request);
  for (const { diskId } of request.disks) {
    const [top] = await layersOf(session, await requireDrive(core, session, diskId));
    refuseBackupOf(core, request, diskId, top?.format);
  }
  await refuseTaken(request.disks.map(({ path }) => path));
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

/**
 * Work on a guest's disks and memory as a whole: recorded before it begins, and undone by the same means whether it fails, is aborted, or its
 * process has died in the middle of it.
 */
import { rm } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { BusyError, Deadline, asError, attachUndoFailures, isHyperviseError, traceMessage } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { DeviceAttachError, InvalidStateError } from "../../driver/index.js";
import type { GuestDisk } from "../../driver/index.js";
import { HostIoError } from "../../host/index.js";
import type { DiskSource } from "../../storage/index.js";
import { StorageError } from "../../storage/index.js";
import { QmpCommandError, QmpJobError, isQmpCommandError } from "../../qmp/index.js";
import { revokeAccess } from "../access/grant-access.js";
import type { GuestCore } from "../guest-core.js";
import { requireHere } from "../migration/guard.js";
import { bindingOf } from "../plan/hardware.js";
import type { GuestSession } from "../session.js";
import type { GuestState } from "../state/guest-state.js";
import type { DiskMove, GuestWork } from "../state/guest-work.js";
import { forgetLostCheckpoints, removeBitmap } from "./checkpoint-bitmaps.js";
import { endJob } from "./job.js";
import { closeUnused, findDrive, letGo } from "./nodes.js";

export interface WorkContext {
  readonly session: GuestSession;
  /** Ends with the caller's signal and limit. Not looked at any more once there is no way back. */
  readonly deadline: Deadline;
}

/** What files that are made are given to QEMU for. */
export const FILE_PURPOSE = "new-file";

type Change = (state: GuestState) => GuestState;

/**
 * Does work on a guest in memory, one at a time. `prepare` says what there will be to undo, before anything is touched; `run` gives what changes
 * with its success in the guest's state.
 * @throws InvalidStateError, BusyError; what the work throws, after it was undone. Where that was not possible it is tried again with the next work and the next adoption.
 */
export async function withWork(
  core: GuestCore,
  operation: string,
  options: CommonOptions,
  prepare: (context: WorkContext) => Promise<GuestWork>,
  run: (context: WorkContext, work: GuestWork) => Promise<Change>,
): Promise<void> {
  const session = requireWorkable(core, operation);
  if (core.working) throw new BusyError("other work on the guest's disks is under way", { instance: core.instance });
  core.working = true;
  const { clock, timeouts } = core.host;
  const deadline = Deadline.after(options.deadline ?? timeouts.jobMs, { operation, clock, signal: options.signal });
  const context = { session, deadline };
  let device: string | undefined;
  try {
    deadline.throwIfExpired();
    await settleWork(core, session);
    const work = await prepare(context);
    if (work.diskIds.length === 1) device = work.diskIds[0];
    deadline.throwIfExpired();
    await core.update((state) => ({ ...state, work }));
    await perform(core, context, work, run);
  } catch (error) {
    const explained = explain(error);
    if (!isHyperviseError(explained)) throw explained;
    throw explained.withContext({ instance: core.instance, ...(device === undefined ? {} : { device }) });
  } finally {
    deadline.dispose();
    core.working = false;
  }
}

/** @throws InvalidStateError for a guest that is not in memory here, or is on its way to another host */
function requireWorkable(core: GuestCore, operation: string): GuestSession {
  requireHere(core, operation);
  const session = core.requireSession(operation);
  if (core.state.migration === undefined) return session;
  throw new InvalidStateError({
    operation,
    state: "migrating",
    expected: ["running", "paused"],
    instance: core.instance,
  });
}

async function perform(
  core: GuestCore,
  context: WorkContext,
  work: GuestWork,
  run: (context: WorkContext, work: GuestWork) => Promise<Change>,
): Promise<void> {
  const { session } = context;
  try {
    const change = await run(context, work);
    await closeNodes(core, session, work);
    for (const path of work.files) await revokeAccess(core, path, FILE_PURPOSE);
    await core.update((state) => withoutWork(change(state)));
    if (work.move !== undefined) await forgetLostCheckpoints(core, session);
  } catch (error) {
    // A driver that lets go of its guests leaves the rest to the next one.
    if (core.released) throw error;
    const name = "work on the guest's disks";
    throw await undo(core, session).then(
      () => error,
      (failure: unknown) => attachUndoFailures(error, [{ name, error: asError(failure) }]),
    );
  }
}

function undo(core: GuestCore, session: GuestSession): Promise<void> {
  return session.process.over || core.session !== session ? discardWork(core) : settleWork(core, session);
}

/** Undoes what work has left, or finishes it where the guest has gone over already. Without effect where there is none. */
export async function settleWork(core: GuestCore, session: GuestSession): Promise<void> {
  const { work } = core.state;
  if (work === undefined) return;
  const { move } = work;
  const finalize = move !== undefined && isDeepStrictEqual(sourceOf(core.definition.disks, move), move.to);
  for (const id of work.jobs) await endJob(core, session, id, finalize);
  const source = move === undefined ? undefined : await settleMove(core, session, move);
  for (const bitmap of work.bitmaps) await removeBitmap(core, session, bitmap);
  await closeNodes(core, session, work);
  await removeFiles(core, work);
  if (move !== undefined && source === move.from) await letGo(core, move.diskId, move.to);
  await core.update((state) => withoutWork(move === undefined ? state : withSource(state, move.diskId, source)));
  await forgetLostCheckpoints(core, session);
}

/** Where work was under way when QEMU ended, nothing is left of it but files. */
export async function discardWork(core: GuestCore): Promise<void> {
  const { work } = core.state;
  if (work === undefined) return;
  await removeFiles(core, work);
  await core.update(withoutWork);
}

/** {@link discardWork} for a guest that was found not to be in memory. Never rejects: what can't be removed is tried again when the guest is next taken up. */
export async function abandonWork(core: GuestCore): Promise<void> {
  await discardWork(core).catch((error: unknown) => {
    traceMessage("hypervise:kvm:background-failure", () => ({
      instance: core.instance,
      error: asError(error).message,
    }));
  });
}

/** The state with another source of a disk. */
export function withSource(state: GuestState, diskId: string, source: DiskSource | undefined): GuestState {
  const { definition } = state;
  const disks = definition.disks.map((disk): GuestDisk => {
    if (disk.id !== diskId) return disk;
    const { source: _, ...rest } = disk;
    return source === undefined ? rest : { ...rest, source };
  });
  return { ...state, definition: { ...definition, disks } };
}

export function withoutWork(state: GuestState): GuestState {
  const { work: _, ...rest } = state;
  return rest;
}

function sourceOf(disks: readonly GuestDisk[], { diskId }: DiskMove): DiskSource | undefined {
  return disks.find(({ id }) => id === diskId)?.source;
}

/** The source that the guest has now: what it stands on tells whether it has gone over. A drive found between two media gets back the first. */
async function settleMove(core: GuestCore, session: GuestSession, move: DiskMove): Promise<DiskSource | undefined> {
  const handle = bindingOf(core.state.hardware, "disk", move.diskId)?.handle;
  const drive = handle === undefined ? undefined : await findDrive(session, handle);
  if (drive === undefined) return move.from;
  if (drive.inserted !== undefined) return drive.inserted.node === move.node ? move.from : move.to;
  if (move.node === undefined || move.to === undefined) return undefined;
  try {
    await session.execute("blockdev-insert-medium", { id: drive.qdev, "node-name": move.node });
    await session.execute("blockdev-close-tray", { id: drive.qdev });
    return move.from;
  } catch (error) {
    if (!isQmpCommandError(error)) throw error;
    return undefined;
  }
}

async function closeNodes(core: GuestCore, session: GuestSession, { diskIds }: GuestWork): Promise<void> {
  for (const id of diskIds) {
    const binding = bindingOf(core.state.hardware, "disk", id);
    if (binding !== undefined) await closeUnused(session, binding.handle);
  }
}

async function removeFiles(core: GuestCore, { files }: GuestWork): Promise<void> {
  for (const path of files) {
    await revokeAccess(core, path, FILE_PURPOSE);
    await rm(path, { force: true }).catch((cause: unknown) => {
      throw new HostIoError({ operation: "removing a file", path, cause });
    });
  }
}

function explain(error: unknown): unknown {
  if (error instanceof QmpCommandError) {
    const refused = new DeviceAttachError("QEMU refuses the work on the disk", { cause: error, detail: error.desc });
    refused.attachUndoErrors(error.undoErrors);
    return refused;
  }
  if (!(error instanceof QmpJobError)) return error;
  const failed = new StorageError("QEMU could not copy the disk", {
    cause: error,
    ...(error.detail === undefined ? {} : { detail: error.detail }),
  });
  failed.attachUndoErrors(error.undoErrors);
  return failed;
}

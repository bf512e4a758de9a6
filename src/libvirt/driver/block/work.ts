/** Work on a guest's disks and memory as a whole: recorded before it begins, and settled by the same means whether it succeeds, fails, is aborted, or its process dies. */
import { isDeepStrictEqual } from "node:util";
import { Deadline, asError, attachUndoFailures, isHyperviseError } from "../../../core/index.js";
import type { CommonOptions, InstanceRef } from "../../../core/index.js";
import { DeviceAttachError } from "../../../driver/index.js";
import { LibvirtError } from "../../rpc/index.js";
import { asDriverError } from "../errors.js";
import type { GuestCore, GuestListener } from "../guest-core.js";
import type { GuestState } from "../state/guest-state.js";
import type { GuestWork } from "../state/guest-work.js";
import { withoutWork } from "./alter-source.js";
import { whenReachable } from "./reach-daemon.js";
import { settleWork } from "./settle-work.js";

export interface WorkContext {
  /** Ends with the caller's signal and limit. Not looked at any more once there is no way back. */
  readonly deadline: Deadline;
  /** Hears all that happens from before the work began. */
  readonly listener: GuestListener;
}

/** What changes in the guest's state with the work's success. */
type Change = (state: GuestState) => GuestState;

/**
 * Does work on a guest in memory, one at a time. `prepare` says what there will be to undo, before anything is touched.
 * @throws InvalidStateError, BusyError; what the work throws, after it was undone. Where that was not possible it is tried again with the next work, the next
 * adoption, and when the daemon is back.
 */
export async function withWork(
  core: GuestCore,
  operation: string,
  options: CommonOptions,
  prepare: (context: WorkContext) => Promise<GuestWork>,
  run: (context: WorkContext, work: GuestWork) => Promise<Change>,
): Promise<void> {
  core.requireInMemory(operation);
  const { clock, timeouts } = core.host;
  const { instance } = core;
  const deadline = Deadline.after(options.deadline ?? timeouts.jobMs, { operation, clock, signal: options.signal });
  const work = (): Promise<void> => workWithin(core, operation, deadline, prepare, run);
  try {
    await core.workTurn.take(instance, work, (settled) => deadline.race(settled));
  } finally {
    deadline.dispose();
  }
}

async function workWithin(
  core: GuestCore,
  operation: string,
  deadline: Deadline,
  prepare: (context: WorkContext) => Promise<GuestWork>,
  run: (context: WorkContext, work: GuestWork) => Promise<Change>,
): Promise<void> {
  const listener = core.listen();
  let device: string | undefined;
  try {
    deadline.throwIfExpired();
    await settleWork(core);
    core.requireInMemory(operation);
    const context = { deadline, listener };
    const work = await prepare(context);
    device = work.move?.diskId;
    deadline.throwIfExpired();
    await core.update((state) => ({ ...state, work }));
    await perform(core, context, work, run);
  } catch (error) {
    const explained = explain(core, operation, error);
    throw isHyperviseError(explained) && device !== undefined ? explained.withContext({ device }) : explained;
  } finally {
    listener.close();
  }
}

async function perform(
  core: GuestCore,
  context: WorkContext,
  work: GuestWork,
  run: (context: WorkContext, work: GuestWork) => Promise<Change>,
): Promise<void> {
  try {
    const change = await run(context, work);
    // A disk that has moved is settled, as the domain tells where it is now.
    await core.update((state) => (work.move === undefined ? withoutWork(change(state)) : change(state)));
    if (work.move !== undefined) await settle(core);
  } catch (error) {
    // A driver that lets go of its guests leaves the rest to the next one.
    if (core.released) throw error;
    try {
      await settle(core);
    } catch (failure) {
      throw attachUndoFailures(error, [{ name: "work on the guest's disks", error: asError(failure) }]);
    }
    if (!hasMoved(core, work)) throw error;
  }
}

function settle(core: GuestCore): Promise<void> {
  // What takes longer goes on, and whoever works on the guest next waits for it.
  const run = (): Promise<void> => core.workTurn.settle("disks", () => settleWork(core));
  return whenReachable(core, "settling the work on the guest's disks", run);
}

/** The daemon may go away between doing it and saying so. */
function hasMoved({ definition, state }: GuestCore, { move }: GuestWork): boolean {
  if (move === undefined || state.work !== undefined) return false;
  return isDeepStrictEqual(definition.disks.find(({ id }) => id === move.diskId)?.source, move.to);
}

function explain({ instance }: GuestCore, operation: string, thrown: unknown): Error {
  const error = asDriverError(thrown, { operation, instance });
  if (!(error instanceof LibvirtError)) return withUndoErrorsOf(thrown, error, { instance });
  const refused = new DeviceAttachError("libvirt refuses the work on the guest's disks or memory", {
    instance,
    cause: error,
    ...(error.detail === undefined ? {} : { detail: error.detail }),
  });
  return withUndoErrorsOf(thrown, refused, { instance });
}

/** What could not be undone is told with the error that the caller gets. */
function withUndoErrorsOf(thrown: unknown, error: Error, context: { readonly instance: InstanceRef }): Error {
  if (!isHyperviseError(error)) return error;
  if (error !== thrown && isHyperviseError(thrown)) error.attachUndoErrors(thrown.undoErrors);
  return error.withContext(context);
}

/** QEMU's block jobs on a guest's disks: started, followed over the loss of the monitor, told apart when they stop for want of space, ended. */
import { ConflictError, Deadline } from "../../core/index.js";
import type { JsonObject } from "../../core/index.js";
import type { CopyProgress } from "../../driver/index.js";
import { DiskFullError } from "../../storage/index.js";
import { QmpDisconnectedError, QmpJob, QmpJobError, toNumber } from "../../qmp/index.js";
import type { Qapi, QmpArguments, QmpBlockJobCommand, QmpClient, QmpWaitOptions } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";

/** States of a job that has stopped, for a while or because of an error. */
const HELD = ["paused", "standby"] as const;

/** What every block job is started with: it is still there when it has ended, and it stops when there is no space instead of failing without saying so. */
export const JOB_RULES = { "auto-dismiss": false, "on-target-error": "enospc" } as const;

/** What a job is waited for: `ready`: it follows its source. `pending`: it has copied everything, and the guest's requests wait. `concluded`: its end; then it is dismissed. */
export type Milestone = "ready" | "pending" | "concluded";

export async function startJob<C extends QmpBlockJobCommand>(
  session: GuestSession,
  command: C,
  args: JsonObject,
): Promise<void> {
  await session.execute(command, args as unknown as QmpArguments<C>);
}

/**
 * Waits until a job has come as far. The job goes on when the wait is given up.
 * @throws QmpJobError when it failed; DiskFullError; GuestCrashedError; AbortedError, DeadlineExceededError
 */
export async function reach(session: GuestSession, id: string, wanted: Milestone, deadline: Deadline): Promise<void> {
  for (;;) {
    const limits = { signal: deadline.signal, deadlineMs: deadline.remainingMs + 1 };
    const client = await session.client(limits);
    try {
      return await follow(client, id, wanted, limits);
    } catch (error) {
      // The job outlives a connection; where QEMU has ended, the next look tells so.
      if (!(error instanceof QmpDisconnectedError)) throw error;
    }
  }
}

async function follow(client: QmpClient, id: string, wanted: Milestone, limits: QmpWaitOptions): Promise<void> {
  const job = await QmpJob.adopt(client, id, limits);
  if (job === undefined) throw new ConflictError(`QEMU has no job ${id}`, { device: id });
  await using _ = job;
  for (;;) {
    const status = await job.waitForStatus([wanted, ...HELD], limits);
    const { changes } = job;
    if (status === "concluded" || status === "null") {
      await job.wait(limits);
      if (wanted === "concluded") return;
      throw new QmpJobError(`the job ${id} ended too early`, { jobId: id, jobType: undefined, cancelled: false });
    }
    if (status === wanted) return;
    await refuseStopped(client, id, limits);
    await job.waitForChange(changes, limits);
  }
}

/** A job is held for moments of its own accord; one that an error has stopped says so. */
async function refuseStopped(client: QmpClient, id: string, limits: QmpWaitOptions): Promise<void> {
  const job = (await client.execute("query-block-jobs", {}, limits)).find(({ device }) => device === id);
  if (job?.["io-status"] === "nospace") throw new DiskFullError("the storage that is copied to is full");
}

/**
 * Brings a job to its end, whatever state it is in, and dismisses it. `finalize`: one that waits for its last word gets it, else it is cancelled.
 * Success when there is none.
 */
export async function endJob(core: GuestCore, session: GuestSession, id: string, finalize: boolean): Promise<void> {
  const { clock, timeouts } = core.host;
  const deadline = Deadline.after(timeouts.cancelMs, { operation: `ending the job ${id}`, clock });
  const limits = { signal: deadline.signal, deadlineMs: timeouts.cancelMs };
  try {
    const job = await QmpJob.adopt(await session.client(limits), id, limits);
    if (job === undefined) return;
    await using _ = job;
    if (finalize && job.status === "pending") await job.finalize(limits);
    else await job.cancel(limits);
    await job.wait(limits).catch((error: unknown) => {
      if (!(error instanceof QmpJobError)) throw error;
    });
  } finally {
    deadline.dispose();
  }
}

/** How far jobs are together; undefined when QEMU does not say, or none is left. */
export async function jobProgress(session: GuestSession, ids: readonly string[]): Promise<CopyProgress | undefined> {
  const jobs: readonly Qapi.JobInfo[] = await session.execute("query-jobs").catch(() => []);
  const own = jobs.filter(({ id }) => ids.includes(id));
  if (own.length === 0) return undefined;
  return {
    doneBytes: own.reduce((sum, job) => sum + toNumber(job["current-progress"]), 0),
    totalBytes: own.reduce((sum, job) => sum + toNumber(job["total-progress"]), 0),
  };
}

/** Jobs of QEMU (mirror, backup, commit, stream, create, snapshots) as handles: started, watched, ended, cleaned up. */
import { AbortedError, ConflictError, Deadline, systemClock } from "../core/index.js";
import type { Clock } from "../core/index.js";
import type { QmpClient } from "./client.js";
import type { QmpWaitOptions } from "./client-options.js";
import { QmpDisconnectedError, QmpJobError, isQmpCommandError } from "./errors.js";
import type * as Qapi from "./generated/qapi.gen.js";
import { JobTracker } from "./job-tracker.js";
import type { JobSnapshot } from "./job-tracker.js";
import { toNumber } from "./qmp-value.js";
import { DEFAULT_QMP_TIMEOUTS } from "./timeouts.js";

/** Commands that start a block job, which can be told to wait for `finalize` and `dismiss`. */
export type QmpBlockJobCommand =
  "blockdev-mirror" | "blockdev-backup" | "block-commit" | "block-stream" | "drive-mirror" | "drive-backup";

/** Commands that start a job, and take its id. */
export type QmpJobCommand =
  QmpBlockJobCommand | "blockdev-create" | "snapshot-save" | "snapshot-load" | "snapshot-delete";

/** How far a job is; the units are its own, for block jobs mostly bytes. The total may grow. */
export interface QmpJobProgress {
  readonly status: Qapi.JobStatus;
  readonly current: number;
  readonly total: number;
}

export interface QmpJobOptions {
  readonly clock?: Clock | undefined;
  /** Default time limit of `wait()` and `waitUntilReady()`. Default: one hour. */
  readonly jobMs?: number | undefined;
}

const BLOCK_JOBS: ReadonlySet<string> = new Set<QmpBlockJobCommand>([
  "blockdev-mirror", "blockdev-backup", "block-commit", "block-stream", "drive-mirror", "drive-backup",
]); // prettier-ignore

/**
 * A job of QEMU. It goes on when nobody watches it; a job that has ended stays in QEMU until it is dismissed, which
 * {@link QmpJob.wait} does.
 *
 * ```ts
 * const job = await QmpJob.start(qmp, "blockdev-mirror", { "job-id": "copy", device: "disk0", target: "new0", sync: "full" });
 * await job.waitUntilReady();
 * await job.complete();
 * await job.wait();
 * ```
 */
export class QmpJob implements AsyncDisposable {
  readonly id: string;
  readonly #client: QmpClient;
  readonly #tracker: JobTracker;
  readonly #clock: Clock;
  readonly #jobMs: number;
  #ended: Promise<void> | undefined;

  private constructor(client: QmpClient, id: string, options: QmpJobOptions) {
    this.id = id;
    this.#client = client;
    this.#tracker = new JobTracker(client, id);
    this.#clock = options.clock ?? systemClock;
    this.#jobMs = options.jobMs ?? DEFAULT_QMP_TIMEOUTS.jobMs;
  }

  /**
   * Starts a job under the `job-id` of the arguments. Block jobs are started with `auto-dismiss` off, so that their error
   * is not lost.
   * @throws what `QmpClient.execute` throws; then there is no job, unless a deadline or abort came first
   */
  static async start<C extends QmpJobCommand>(
    client: QmpClient,
    command: C,
    args: Qapi.Commands[C]["arguments"] & { readonly "job-id": string },
    options: QmpJobOptions & QmpWaitOptions = {},
  ): Promise<QmpJob> {
    const job = new QmpJob(client, args["job-id"], options);
    const all = BLOCK_JOBS.has(command) ? { "auto-dismiss": false, ...args } : args;
    try {
      await client.executeUntyped(command, all, { signal: options.signal, deadlineMs: options.deadlineMs });
      return job;
    } catch (error) {
      job.#tracker.stop();
      throw error;
    }
  }

  /** Takes up a job that is there already, for example after a restart of this process. Undefined when there is none. */
  static async adopt(
    client: QmpClient,
    id: string,
    options: QmpJobOptions & QmpWaitOptions = {},
  ): Promise<QmpJob | undefined> {
    const job = new QmpJob(client, id, options);
    const { signal, deadlineMs = DEFAULT_QMP_TIMEOUTS.commandMs } = options;
    const deadline = Deadline.after(deadlineMs, { operation: "query-jobs", clock: job.#clock, signal });
    try {
      if (await job.#tracker.refresh(deadline)) return job;
      job.#tracker.stop();
      return undefined;
    } catch (error) {
      job.#tracker.stop();
      throw error;
    } finally {
      deadline.dispose();
    }
  }

  /** The last state that QEMU told of. */
  get status(): Qapi.JobStatus {
    return this.#tracker.snapshot.status;
  }

  /** How many times QEMU has told of the job; for {@link QmpJob.waitForChange}. */
  get changes(): number {
    return this.#tracker.snapshot.changes;
  }

  /** Asks QEMU how far the job is; undefined when it is gone. */
  async progress(options: QmpWaitOptions = {}): Promise<QmpJobProgress | undefined> {
    const job = await this.#query(options);
    if (job === undefined) return undefined;
    return { status: job.status, current: toNumber(job["current-progress"]), total: toNumber(job["total-progress"]) };
  }

  /**
   * Waits until the job is in one of these states or has ended, which `concluded` and `null` say, and tells in which. The job is not dismissed.
   * @throws QmpDisconnectedError when the session ends first
   */
  waitForStatus(wanted: readonly Qapi.JobStatus[], options: QmpWaitOptions = {}): Promise<Qapi.JobStatus> {
    return this.#within("waiting for a state of the job", options, async (deadline) => {
      const { status } = await this.#tracker.waitUntil(
        (job) => wanted.includes(job.status) || isOver(job),
        deadline.signal,
      );
      return status;
    });
  }

  /**
   * Waits until QEMU has told more of the job than it had when `changes` was read: at once where it has already. So nothing that happens between
   * a look at a job and the wait that follows is missed.
   * @throws QmpDisconnectedError when the session ends first
   */
  waitForChange(changes: number, options: QmpWaitOptions = {}): Promise<Qapi.JobStatus> {
    return this.#within("waiting for a change of the job", options, async (deadline) => {
      const { status } = await this.#tracker.waitUntil((job) => job.changes > changes || isOver(job), deadline.signal);
      return status;
    });
  }

  /**
   * Waits until a mirror or an active commit has copied everything and follows its source, so that `complete()` can follow.
   * @throws QmpJobError when the job ends before that; it is dismissed
   */
  waitUntilReady(options: QmpWaitOptions = {}): Promise<void> {
    return this.#within("waiting for the job to be ready", options, async (deadline) => {
      const { status } = await this.#tracker.waitUntil((job) => job.status === "ready" || isOver(job), deadline.signal);
      if (status === "ready") return;
      await this.#conclude(deadline);
      throw new ConflictError(`the job ${this.id} ended without ever being ready`);
    });
  }

  /**
   * Waits for the end of the job and dismisses it. May be called more than once. A caller that gives up leaves it running.
   * @throws QmpJobError when the job failed or was cancelled
   * @throws QmpDisconnectedError when the session ends first
   */
  wait(options: QmpWaitOptions = {}): Promise<void> {
    return this.#within("waiting for the job", options, async (deadline) => {
      await this.#tracker.waitUntil(isOver, deadline.signal);
      await this.#conclude(deadline);
    });
  }

  /**
   * Waits as {@link QmpJob.wait} does, but cancels the job when the caller gives up, and then waits for its end.
   * @throws AbortedError, DeadlineExceededError after the job is gone
   */
  async waitOrCancel(options: QmpWaitOptions = {}): Promise<void> {
    try {
      await this.wait(options);
    } catch (error) {
      if (this.#isGone() || error instanceof QmpJobError || error instanceof QmpDisconnectedError) throw error;
      await this.cancel().catch(() => undefined);
      await this.wait({ deadlineMs: DEFAULT_QMP_TIMEOUTS.commandMs }).catch((end: unknown) => {
        if (!(end instanceof QmpJobError))
          throw new AbortedError({ operation: `cancelling the job ${this.id}`, cause: end });
      });
      throw error;
    }
  }

  /** Lets a job that is `ready` end: a mirror moves the guest to its target. */
  complete(options: QmpWaitOptions = {}): Promise<unknown> {
    return this.#client.execute("job-complete", { id: this.id }, options);
  }

  /** Lets a job that is `pending` (started with `auto-finalize` off) make its changes to the block graph. */
  finalize(options: QmpWaitOptions = {}): Promise<unknown> {
    return this.#client.execute("job-finalize", { id: this.id }, options);
  }

  /** Ends the job and throws away what it did. That it has ended already is no error. */
  async cancel(options: QmpWaitOptions = {}): Promise<void> {
    if (this.#isGone()) return;
    try {
      await this.#client.execute("job-cancel", { id: this.id }, options);
    } catch (error) {
      const over = isQmpCommandError(error) && isStatusOver((await this.#query(options))?.status);
      if (!over) throw error;
    }
  }

  /** Holds the job; a job that has work under way ends that first. */
  pause(options: QmpWaitOptions = {}): Promise<unknown> {
    return this.#client.execute("job-pause", { id: this.id }, options);
  }

  resume(options: QmpWaitOptions = {}): Promise<unknown> {
    return this.#client.execute("job-resume", { id: this.id }, options);
  }

  /** Limits a block job, in bytes a second; 0 takes the limit away. */
  setSpeed(bytesPerSecond: number | bigint, options: QmpWaitOptions = {}): Promise<unknown> {
    return this.#client.execute("block-job-set-speed", { device: this.id, speed: bytesPerSecond }, options);
  }

  /** Stops watching; the job goes on. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#tracker.stop();
    return Promise.resolve();
  }

  #within<T>(operation: string, options: QmpWaitOptions, work: (deadline: Deadline) => Promise<T>): Promise<T> {
    const { signal, deadlineMs = this.#jobMs } = options;
    const deadline = Deadline.after(deadlineMs, { operation: `${operation} ${this.id}`, clock: this.#clock, signal });
    return work(deadline).finally(() => deadline.dispose());
  }

  /** Reads how the job ended and dismisses it; once, unless that was interrupted. */
  #conclude(deadline: Deadline): Promise<void> {
    const settle = (error?: unknown): void => {
      if (error === undefined || error instanceof QmpJobError) this.#tracker.stop();
      else this.#ended = undefined;
    };
    if (this.#ended === undefined) {
      this.#ended = this.#readEnd(deadline);
      this.#ended.then(() => settle(), settle);
    }
    return this.#ended;
  }

  async #readEnd(deadline: Deadline): Promise<void> {
    const options = { signal: deadline.signal, deadlineMs: deadline.remainingMs + 1 };
    const job = await this.#query(options);
    if (job !== undefined) {
      await this.#client.execute("job-dismiss", { id: this.id }, options).catch((error: unknown) => {
        // Somebody else, or an auto-dismiss, was faster.
        if (!isQmpCommandError(error)) throw error;
      });
    }
    const { completed } = this.#tracker.snapshot;
    const failure = job?.error ?? completed?.error;
    const cancelled = completed?.cancelled ?? false;
    if (failure === undefined && !cancelled) return;
    const message = cancelled ? `the job ${this.id} was cancelled` : `the job ${this.id} failed`;
    throw new QmpJobError(message, { jobId: this.id, jobType: job?.type, cancelled, detail: failure });
  }

  async #query(options: QmpWaitOptions): Promise<Qapi.JobInfo | undefined> {
    return (await this.#client.execute("query-jobs", {}, options)).find(({ id }) => id === this.id);
  }

  #isGone(): boolean {
    return this.status === "null" || this.#ended !== undefined;
  }
}

function isOver(job: JobSnapshot): boolean {
  return isStatusOver(job.status);
}

function isStatusOver(status: Qapi.JobStatus | undefined): boolean {
  return status === undefined || status === "concluded" || status === "null";
}

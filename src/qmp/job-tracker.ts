/** Follows one job of QEMU by its events, so that no state between two looks is missed. */
import { abortErrorOf } from "../core/index.js";
import type { Deadline, EventSubscription } from "../core/index.js";
import type { QmpClient } from "./client.js";
import { QmpDisconnectedError } from "./errors.js";
import type * as Qapi from "./generated/qapi.gen.js";
import type { QmpStreamEvent } from "./qmp-event.js";

/** What is known of a job. */
export interface JobSnapshot {
  readonly status: Qapi.JobStatus;
  /** How many times QEMU has told of the job. */
  readonly changes: number;
  /** What QEMU said when it completed; jobs that dismiss themselves say it nowhere else. */
  readonly completed?: { readonly error?: string | undefined; readonly cancelled: boolean };
}

const NAMES = ["JOB_STATUS_CHANGE", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"] as const;
type JobEvent = QmpStreamEvent<(typeof NAMES)[number]>;

interface Waiter {
  readonly wanted: (snapshot: JobSnapshot) => boolean;
  readonly resolve: (snapshot: JobSnapshot) => void;
  readonly reject: (error: Error) => void;
}

export class JobTracker {
  readonly #id: string;
  readonly #client: QmpClient;
  readonly #events: EventSubscription<JobEvent>;
  readonly #waiters = new Set<Waiter>();
  #snapshot: JobSnapshot = { status: "undefined", changes: 0 };
  #told = false;
  #end: Error | undefined;

  /** Listens from now on. */
  constructor(client: QmpClient, id: string) {
    this.#id = id;
    this.#client = client;
    this.#events = client.events({ names: NAMES, predicate: (event) => this.#concerns(event) });
    void this.#follow();
  }

  get snapshot(): JobSnapshot {
    return this.#snapshot;
  }

  /** Asks QEMU for the state, for a job that began before this tracker did. False when there is no such job. */
  async refresh(deadline: Deadline): Promise<boolean> {
    const options = { signal: deadline.signal, deadlineMs: deadline.remainingMs + 1 };
    const job = (await this.#client.execute("query-jobs", {}, options)).find(({ id }) => id === this.#id);
    // An event that was read already may be later than the answer, and is never older in what it leads to.
    if (job !== undefined && !this.#told) this.#update({ status: job.status });
    return job !== undefined;
  }

  /** Waits until the job is as wanted. */
  waitUntil(wanted: (snapshot: JobSnapshot) => boolean, signal: AbortSignal): Promise<JobSnapshot> {
    if (wanted(this.#snapshot)) return Promise.resolve(this.#snapshot);
    if (this.#end !== undefined) return Promise.reject(this.#end);
    return new Promise((resolve, reject) => {
      const settle = (outcome: () => void): void => {
        this.#waiters.delete(waiter);
        signal.removeEventListener("abort", onAbort);
        outcome();
      };
      const onAbort = (): void => settle(() => reject(abortErrorOf(signal)));
      const waiter: Waiter = {
        wanted,
        resolve: (snapshot) => settle(() => resolve(snapshot)),
        reject: (error) => settle(() => reject(error)),
      };
      if (signal.aborted) return reject(abortErrorOf(signal));
      this.#waiters.add(waiter);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Stops listening. */
  stop(): void {
    void this.#events.return();
  }

  #concerns(event: Exclude<JobEvent, { event: "overflow" | "disconnected" }>): boolean {
    return (event.event === "JOB_STATUS_CHANGE" ? event.data.id : event.data.device) === this.#id;
  }

  async #follow(): Promise<void> {
    for await (const event of this.#events) {
      if (event.event === "disconnected") return this.#fail(event.data.error);
      this.#take(event);
      if (this.#snapshot.status === "null") return;
    }
  }

  #take(event: Exclude<JobEvent, { event: "disconnected" }>): void {
    if (event.event === "JOB_STATUS_CHANGE") {
      this.#told = true;
      this.#update({ status: event.data.status });
    } else if (event.event === "BLOCK_JOB_COMPLETED")
      this.#update({ completed: { error: event.data.error, cancelled: false } });
    else if (event.event === "BLOCK_JOB_CANCELLED") this.#update({ completed: { cancelled: true } });
  }

  #fail(cause: Error | undefined): void {
    this.#end = new QmpDisconnectedError("the connection to QEMU ended while the job was under way", {
      maybeExecuted: true,
      cause,
    });
    for (const waiter of [...this.#waiters]) waiter.reject(this.#end);
  }

  #update(news: Partial<Omit<JobSnapshot, "changes">>): void {
    const snapshot = { ...this.#snapshot, ...news, changes: this.#snapshot.changes + 1 };
    this.#snapshot = snapshot;
    for (const waiter of [...this.#waiters]) if (waiter.wanted(snapshot)) waiter.resolve(snapshot);
  }
}

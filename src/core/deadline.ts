/** How long an operation may still take, as one object that is handed down through all its waits. */
import { abortErrorOf, onAbort, raceAbort, throwIfAborted } from "./abort.js";
import { DeadlineExceededError, InvalidArgumentError } from "./common-errors.js";
import { systemClock } from "./clock.js";
import type { Clock, TimerHandle } from "./clock.js";

/** What a {@link Deadline} is about. */
export interface DeadlineOptions {
  /** What has to be done in time, as a verb phrase for the error: `"starting the guest"`. */
  readonly operation: string;
  /** Default: the system's clock. */
  readonly clock?: Clock | undefined;
  /** The caller's own signal; its abort ends the deadline too. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * A time limit joined with the caller's abort signal. Dispose of it when the work is done: until then it holds a timer and
 * a listener on the caller's signal.
 */
export class Deadline {
  /** Aborts with `DeadlineExceededError` when time is over, with the caller's abort (see `abortErrorOf`) before that. */
  readonly signal: AbortSignal;
  readonly operation: string;
  readonly timeoutMs: number;
  readonly #clock: Clock;
  readonly #endsAt: number;
  readonly #controller = new AbortController();
  #timer: TimerHandle | undefined;
  #unwatch: () => void = () => undefined;

  private constructor(timeoutMs: number, options: DeadlineOptions) {
    this.signal = this.#controller.signal;
    this.operation = options.operation;
    this.timeoutMs = timeoutMs;
    this.#clock = options.clock ?? systemClock;
    this.#endsAt = this.#clock.monotonic() + timeoutMs;
    const { signal } = options;
    if (signal?.aborted !== true && timeoutMs === 0) this.#onTimeout();
    else if (signal?.aborted !== true) this.#timer = this.#clock.setTimeout(() => this.#onTimeout(), timeoutMs);
    if (signal !== undefined && !this.#controller.signal.aborted)
      this.#unwatch = onAbort(signal, () => this.#onParentAbort(signal));
  }

  /**
   * A deadline `ms` milliseconds from now; one of 0 is over at once.
   * @throws InvalidArgumentError when `ms` is negative or not a finite number.
   */
  static after(ms: number, options: DeadlineOptions): Deadline {
    if (!(ms >= 0 && Number.isFinite(ms))) {
      throw new InvalidArgumentError({
        field: "deadline",
        value: ms,
        expected: "a finite number of milliseconds, 0 or more",
      });
    }
    return new Deadline(ms, options);
  }

  /** Milliseconds left; 0 when time is over. */
  get remainingMs(): number {
    return Math.max(0, this.#endsAt - this.#clock.monotonic());
  }

  /** Whether time is over or the caller has aborted. */
  get expired(): boolean {
    // The clock may be past the end before its timer has had its turn.
    if (this.#timer !== undefined && this.remainingMs === 0) this.#onTimeout();
    return this.signal.aborted;
  }

  /** Throws what {@link Deadline.signal} was aborted with, if it was. */
  throwIfExpired(): void {
    if (this.expired) throwIfAborted(this.signal, this.operation);
  }

  /** Settles as the promise does, or rejects when the deadline ends first; the promise's work is not stopped by that. */
  race<T>(promise: PromiseLike<T>): Promise<T> {
    return raceAbort(promise, this.signal, this.operation);
  }

  /** Releases the timer and the listener; the signal will not abort any more. May be called twice. */
  [Symbol.dispose](): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#unwatch();
  }

  /** {@link Deadline[Symbol.dispose]} by a name. */
  dispose(): void {
    this[Symbol.dispose]();
  }

  #onTimeout(): void {
    this[Symbol.dispose]();
    this.#controller.abort(new DeadlineExceededError({ operation: this.operation, timeoutMs: this.timeoutMs }));
  }

  #onParentAbort(parent: AbortSignal): void {
    this[Symbol.dispose]();
    this.#controller.abort(abortErrorOf(parent, this.operation));
  }
}

/**
 * Runs work under a deadline and disposes of it afterwards. The work gets the deadline and is expected to stop when its
 * signal aborts; the returned promise rejects at once in that case.
 */
export async function withDeadline<T>(
  ms: number,
  options: DeadlineOptions,
  work: (deadline: Deadline) => Promise<T>,
): Promise<T> {
  const deadline = Deadline.after(ms, options);
  try {
    deadline.throwIfExpired();
    return await deadline.race(work(deadline));
  } finally {
    deadline.dispose();
  }
}

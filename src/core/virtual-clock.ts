/** A clock that stands still until a test moves it. */
import { InvalidArgumentError } from "./common-errors.js";
import { sleepOn } from "./clock.js";
import type { Clock, TimerHandle } from "./clock.js";
import { TimerHeap } from "./timer-heap.js";
import type { HeapTimer } from "./timer-heap.js";

/** How a {@link VirtualClock} starts and behaves. */
export interface VirtualClockOptions {
  /** What `now()` says at first, in milliseconds since the epoch. Default: 2020-01-01T00:00:00Z. */
  readonly now?: number | undefined;
  /**
   * Jump to the next timer by itself whenever the program has nothing else to do. Timers that were unref'ed don't cause a
   * jump, so that a heartbeat does not make time race. Only for programs without real I/O: a pending read counts as
   * nothing to do. Default: false.
   */
  readonly autoAdvance?: boolean | undefined;
  /** How many turns of the event loop code under test gets between two timers. Default: 2. */
  readonly settleTurns?: number | undefined;
}

interface VirtualTimer extends HeapTimer {
  readonly fn: () => void;
  referenced: boolean;
}

/**
 * {@link Clock} for tests. Timers run in the order of their times, those of one time in the order they were set, and
 * promise jobs and `setImmediate` callbacks settle before and after each, so that asynchronous code proceeds as it would
 * in real time.
 */
export class VirtualClock implements Clock {
  readonly #timers = new TimerHeap<VirtualTimer>();
  readonly #startEpoch: number;
  readonly #autoAdvance: boolean;
  readonly #settleTurns: number;
  #elapsed = 0;
  #sequence = 0;
  #referenced = 0;
  #pumping = false;
  #turn: Promise<void> = Promise.resolve();

  constructor(options: VirtualClockOptions = {}) {
    this.#startEpoch = options.now ?? Date.UTC(2020, 0, 1);
    this.#autoAdvance = options.autoAdvance ?? false;
    this.#settleTurns = options.settleTurns ?? 2;
  }

  now(): number {
    return this.#startEpoch + this.#elapsed;
  }

  monotonic(): number {
    return this.#elapsed;
  }

  /** How many timers are set. */
  get pending(): number {
    return this.#timers.size;
  }

  /** When the next timer is due, as `now()` will say then; undefined without timers. */
  get nextTimerAt(): number | undefined {
    const next = this.#timers.peek();
    return next === undefined ? undefined : this.#startEpoch + next.at;
  }

  setTimeout(fn: () => void, ms: number): TimerHandle {
    const at = this.#elapsed + (ms > 0 ? ms : 0);
    const timer: VirtualTimer = { at, sequence: this.#sequence++, index: -1, fn, referenced: true };
    this.#timers.push(timer);
    this.#referenced++;
    this.#pump();
    return {
      cancel: () => {
        if (this.#timers.remove(timer)) this.#unreference(timer);
      },
      unref: () => {
        if (timer.index >= 0) this.#unreference(timer);
      },
    };
  }

  sleep(ms: number, options?: { readonly signal?: AbortSignal | undefined }): Promise<void> {
    return sleepOn(this, ms, options?.signal);
  }

  /**
   * Moves time on by `ms` milliseconds and runs what falls due on the way, including timers set on the way. Calls queue up
   * behind each other. Rejects with what a timer's callback throws; time then stands at that timer.
   */
  tick(ms: number): Promise<void> {
    if (!(ms >= 0 && Number.isFinite(ms))) {
      throw new InvalidArgumentError({
        field: "ms",
        value: ms,
        expected: "a finite number of milliseconds, 0 or more",
      });
    }
    return this.#exclusive(async () => {
      await this.settle();
      await this.#runTo(this.#elapsed + ms);
    });
  }

  /** Moves time on until `now()` says `epochMs`; does nothing when that is past. */
  advanceTo(epochMs: number): Promise<void> {
    return this.#exclusive(async () => {
      await this.settle();
      await this.#runTo(epochMs - this.#startEpoch);
    });
  }

  /**
   * Moves from timer to timer until the promise settles, and settles as it does.
   * @throws InvalidArgumentError when no timer is left, or `limitMs` (default: a day) is over, and it is still pending.
   */
  async runUntil<T>(promise: PromiseLike<T>, limitMs = 86_400_000): Promise<T> {
    let settled = false;
    const done = (): void => void (settled = true);
    promise.then(done, done);
    const end = this.#elapsed + limitMs;
    await this.#exclusive(async () => {
      await this.settle();
      while (!settled) {
        const next = this.#timers.peek();
        if (next === undefined || next.at > end) break;
        await this.#runTo(next.at);
      }
    });
    if (settled) return promise;
    throw new InvalidArgumentError({
      field: "promise",
      value: promise,
      expected: `a promise that settles within ${limitMs} ms of virtual time (${this.pending} timers are left)`,
    });
  }

  /** Lets promise jobs and `setImmediate` callbacks run, without moving time. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < this.#settleTurns; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
  }

  async #runTo(target: number): Promise<void> {
    for (;;) {
      const next = this.#timers.peek();
      if (next === undefined || next.at > target) break;
      this.#fire(next);
      await this.settle();
    }
    this.#elapsed = Math.max(this.#elapsed, target);
  }

  #fire(timer: VirtualTimer): void {
    this.#timers.remove(timer);
    this.#unreference(timer);
    this.#elapsed = Math.max(this.#elapsed, timer.at);
    timer.fn();
  }

  #unreference(timer: VirtualTimer): void {
    if (!timer.referenced) return;
    timer.referenced = false;
    this.#referenced--;
  }

  #exclusive(work: () => Promise<void>): Promise<void> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  #pump(): void {
    if (!this.#autoAdvance || this.#pumping || this.#referenced === 0) return;
    this.#pumping = true;
    const step = async (): Promise<void> => {
      await this.settle();
      const next = this.#timers.peek();
      if (next !== undefined && this.#referenced > 0) this.#fire(next);
    };
    const run = async (): Promise<void> => {
      while (this.#timers.size > 0 && this.#referenced > 0) await this.#exclusive(step);
    };
    run().then(
      () => {
        this.#pumping = false;
        this.#pump();
      },
      (error: unknown) => {
        this.#pumping = false;
        this.#pump();
        queueMicrotask(() => {
          throw error;
        });
      },
    );
  }
}

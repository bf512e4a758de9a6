/** Time as a collaborator: the system's clock, and the interface that tests replace it by. */
import { raceAbort, throwIfAborted } from "./abort.js";

/** A timer that was set. */
export interface TimerHandle {
  /** Stops it; does nothing when it has fired or was cancelled. */
  cancel(): void;
  /** Lets the process exit although the timer is pending. */
  unref?(): void;
}

/** Where a component gets its time from. */
export interface Clock {
  /** Milliseconds since the epoch, as the wall shows it: may jump when the host's clock is set. */
  now(): number;
  /** Milliseconds since some moment, never going back: for measuring and for deadlines. */
  monotonic(): number;
  /** Calls `fn` once, `ms` milliseconds from now (0 or less: as soon as possible). Any finite length is kept exactly. */
  setTimeout(fn: () => void, ms: number): TimerHandle;
  /**
   * Resolves after `ms` milliseconds.
   * @throws AbortedError when `signal` aborts first; no timer is left.
   */
  sleep(ms: number, options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

/** Node's timers take at most a signed 32-bit number of milliseconds. */
const LONGEST_TIMER_MS = 2_147_483_647;

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimeout: (fn, ms) => new SystemTimer(fn, ms),
  sleep: (ms, options) => sleepOn(systemClock, ms, options?.signal),
};

class SystemTimer implements TimerHandle {
  readonly #fn: () => void;
  #remainingMs: number;
  #timer: NodeJS.Timeout;
  #unref = false;

  constructor(fn: () => void, ms: number) {
    this.#fn = fn;
    this.#remainingMs = ms;
    this.#timer = this.#arm();
  }

  cancel(): void {
    clearTimeout(this.#timer);
  }

  unref(): void {
    this.#unref = true;
    this.#timer.unref();
  }

  #arm(): NodeJS.Timeout {
    const step = Math.min(this.#remainingMs, LONGEST_TIMER_MS);
    this.#remainingMs -= step;
    return setTimeout(() => {
      if (this.#remainingMs <= 0) return this.#fn();
      this.#timer = this.#arm();
      if (this.#unref) this.#timer.unref();
    }, step);
  }
}

/** `sleep` over any clock's `setTimeout`; for implementations of {@link Clock}. */
export async function sleepOn(clock: Pick<Clock, "setTimeout">, ms: number, signal?: AbortSignal): Promise<void> {
  throwIfAborted(signal);
  let timer: TimerHandle | undefined;
  const rung = new Promise<void>((resolve) => {
    timer = clock.setTimeout(resolve, ms);
  });
  try {
    await raceAbort(rung, signal);
  } finally {
    timer?.cancel();
  }
}

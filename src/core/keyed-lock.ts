/** One operation at a time for each key, in the order of asking; different keys in parallel. */
import { abortErrorOf, onAbort, throwIfAborted } from "./abort.js";
import type { Clock } from "./clock.js";
import { Deadline } from "./deadline.js";

/** How long and under which signal a caller waits for its turn. */
export interface LockWaitOptions {
  /** Ends the waiting. What runs under the lock is not touched by it. */
  readonly signal?: AbortSignal | undefined;
  /** The longest wait for the turn: milliseconds, or a deadline of the caller's. Default: no limit of the lock's own. */
  readonly deadline?: number | Deadline | undefined;
}

interface Waiter {
  readonly enter: () => void;
}

/**
 * A fair lock a key. Waiters enter first come, first served; one that gives up leaves no trace; a key that nobody holds
 * takes no memory. Not re-entrant: `run` inside `run` of the same key waits for itself.
 */
export class KeyedLock {
  readonly #clock: Clock | undefined;
  readonly #queues = new Map<string, Set<Waiter>>();

  constructor(options: { readonly clock?: Clock | undefined } = {}) {
    this.#clock = options.clock;
  }

  /** How many keys are held. */
  get size(): number {
    return this.#queues.size;
  }

  /** Whether someone holds the key. */
  isLocked(key: string): boolean {
    return this.#queues.has(key);
  }

  /** How many wait for the key, without the one that holds it. */
  waiting(key: string): number {
    return this.#queues.get(key)?.size ?? 0;
  }

  /**
   * Waits for the key, runs `fn`, and frees the key when it has settled.
   * @throws AbortedError, DeadlineExceededError when the wait ended first; `fn` was not called then.
   */
  async run<T>(key: string, fn: () => Promise<T>, options: LockWaitOptions = {}): Promise<T> {
    await this.#enter(key, options);
    try {
      return await fn();
    } finally {
      this.#leave(key);
    }
  }

  async #enter(key: string, options: LockWaitOptions): Promise<void> {
    const { deadline, signal } = options;
    throwIfAborted(signal);
    const queue = this.#queues.get(key);
    if (queue === undefined) {
      if (typeof deadline === "object") deadline.throwIfExpired();
      this.#queues.set(key, new Set());
      return;
    }
    if (typeof deadline !== "number") return waitTurn(queue, [signal, deadline?.signal]);
    const own = Deadline.after(deadline, {
      operation: "waiting for another operation to end",
      clock: this.#clock,
      signal,
    });
    try {
      await waitTurn(queue, [own.signal]);
    } finally {
      own.dispose();
    }
  }

  #leave(key: string): void {
    const queue = this.#queues.get(key);
    const next = queue?.values().next();
    if (queue === undefined || next === undefined || next.done === true) {
      this.#queues.delete(key);
      return;
    }
    queue.delete(next.value);
    next.value.enter();
  }
}

function waitTurn(queue: Set<Waiter>, signals: readonly (AbortSignal | undefined)[]): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const forgets: (() => void)[] = [];
    const forget = (): void => forgets.forEach((f) => f());
    const waiter: Waiter = {
      enter: () => {
        forget();
        resolve();
      },
    };
    queue.add(waiter);
    for (const signal of signals) {
      if (signal === undefined || !queue.has(waiter)) continue;
      const giveUp = (): void => {
        forget();
        queue.delete(waiter);
        reject(abortErrorOf(signal));
      };
      forgets.push(onAbort(signal, giveUp));
    }
  });
}

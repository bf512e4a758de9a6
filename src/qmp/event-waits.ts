/** Waits for single events: each is there from the moment it is asked for, so that nothing is missed before the command. */
import { DeadlineExceededError, abortErrorOf, asError } from "../core/index.js";
import type { Clock } from "../core/index.js";
import type { QmpEvent } from "./qmp-event.js";

interface Wait {
  readonly event: string;
  readonly predicate: ((event: QmpEvent) => boolean) | undefined;
  readonly resolve: (event: QmpEvent) => void;
  readonly reject: (error: Error) => void;
}

export interface EventWaitOptions {
  readonly signal?: AbortSignal | undefined;
  readonly deadlineMs: number;
}

export class EventWaits {
  readonly #waits = new Set<Wait>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves with the next event of this name that the predicate takes. A rejection that nobody looks at does no harm. */
  add(
    event: string,
    predicate: ((event: QmpEvent) => boolean) | undefined,
    options: EventWaitOptions,
  ): Promise<QmpEvent> {
    const { signal, deadlineMs } = options;
    const result = new Promise<QmpEvent>((resolve, reject) => {
      if (signal?.aborted === true) return reject(abortErrorOf(signal, `waiting for ${event}`));
      const forget = (): void => {
        this.#waits.delete(wait);
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
      };
      const fail = (error: Error): void => {
        forget();
        reject(error);
      };
      const onAbort = (): void => fail(abortErrorOf(signal as AbortSignal, `waiting for ${event}`));
      const timer = this.#clock.setTimeout(() => {
        fail(new DeadlineExceededError({ operation: `waiting for ${event}`, timeoutMs: deadlineMs }));
      }, deadlineMs);
      const succeed = (found: QmpEvent): void => {
        forget();
        resolve(found);
      };
      const wait: Wait = { event, predicate, resolve: succeed, reject: fail };
      this.#waits.add(wait);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
    // The command that was to cause the event may fail first, and then nobody awaits this.
    result.catch(() => undefined);
    return result;
  }

  offer(event: QmpEvent): void {
    for (const wait of this.#waits) {
      if (wait.event !== event.event) continue;
      try {
        if (wait.predicate?.(event) !== false) wait.resolve(event);
      } catch (error) {
        wait.reject(asError(error));
      }
    }
  }

  rejectAll(error: Error): void {
    for (const wait of [...this.#waits]) wait.reject(error);
  }
}

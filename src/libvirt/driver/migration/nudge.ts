/** Waking one who waits for the next look at a job. */
import { joinSignals } from "../../../core/index.js";
import type { Clock } from "../../../core/index.js";

/** A call that comes while nobody waits is kept for the next wait. */
export class Nudge {
  #pending = false;
  #wake: AbortController | undefined;

  poke(): void {
    this.#pending = true;
    this.#wake?.abort();
  }

  /** Resolves after the next `poke`, at the latest after `limitMs`; soon when the signal aborts. */
  async wait(clock: Clock, limitMs: number, signal?: AbortSignal): Promise<void> {
    if (!this.#pending && signal?.aborted !== true) {
      this.#wake = new AbortController();
      const joined = joinSignals([signal, this.#wake.signal]);
      try {
        await clock.sleep(limitMs, { signal: joined.signal });
      } catch (error) {
        if (!joined.signal.aborted) throw error;
      } finally {
        joined.release();
        this.#wake = undefined;
      }
    }
    this.#pending = false;
  }
}

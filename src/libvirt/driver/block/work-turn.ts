/** Whose turn it is to work on one guest's disks and memory, in this process. */
import { BusyError } from "../../../core/index.js";
import type { InstanceRef } from "../../../core/index.js";

/** What left work is about. */
export type LeftWork = "disks" | "saving";

export class WorkTurn {
  #working = false;
  readonly #settling = new Map<LeftWork, Promise<void>>();

  get isTaken(): boolean {
    return this.#working;
  }

  /**
   * Does work when nothing is settled any more.
   * @param wait ends the wait for that when the work's time is over
   * @throws BusyError while other work is under way; what ends the wait
   */
  async take<T>(
    instance: InstanceRef,
    run: () => Promise<T>,
    wait: (settled: Promise<unknown>) => Promise<unknown> = (settled) => settled,
  ): Promise<T> {
    if (this.#working) throw new BusyError("other work on the guest's disks or memory is under way", { instance });
    this.#working = true;
    try {
      if (this.#settling.size > 0) await wait(Promise.allSettled(this.#settling.values()));
      return await run();
    } finally {
      this.#working = false;
    }
  }

  /** Runs what brings left work to its end; calls about the same are one, others follow each other. */
  settle(what: LeftWork, run: () => Promise<void>): Promise<void> {
    const under = this.#settling.get(what);
    if (under !== undefined) return under;
    const settling = Promise.allSettled(this.#settling.values())
      .then(run)
      .finally(() => this.#settling.delete(what));
    this.#settling.set(what, settling);
    return settling;
  }
}

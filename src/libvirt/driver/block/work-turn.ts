/** Whose turn it is to work on one guest's disks and memory, in this process. */
import { BusyError } from "../../../core/index.js";
import type { InstanceRef } from "../../../core/index.js";

export class WorkTurn {
  #working = false;
  #settling: Promise<void> | undefined;

  get isTaken(): boolean {
    return this.#working;
  }

  /** @throws BusyError while other work is under way */
  async take<T>(instance: InstanceRef, run: () => Promise<T>): Promise<T> {
    if (this.#working) throw new BusyError("other work on the guest's disks or memory is under way", { instance });
    this.#working = true;
    try {
      await this.#settling?.catch(() => undefined);
      return await run();
    } finally {
      this.#working = false;
    }
  }

  /** Runs what brings left work to its end; calls that overlap are one. */
  settle(run: () => Promise<void>): Promise<void> {
    this.#settling ??= run().finally(() => (this.#settling = undefined));
    return this.#settling;
  }
}

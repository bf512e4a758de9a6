/** Noticing that nothing goes to the destination any more: QEMU would wait for it for a quarter of an hour. */
import { MigrationError } from "../../../driver/index.js";
import type { MigrationProgress } from "../../../driver/index.js";
import type { GuestCore } from "../guest-core.js";

/** Time in which libvirt gave no answer does not count: it may have stood still as a whole. */
export class StallWatch {
  readonly #core: Pick<GuestCore, "host" | "instance">;
  #seen = "";
  #lookedAt = 0;
  #idleMs = 0;

  constructor(core: Pick<GuestCore, "host" | "instance">) {
    this.#core = core;
  }

  /**
   * One look at how far it is.
   * @throws MigrationError when it has been as far for `stallMs`
   */
  look(progress: MigrationProgress): void {
    const { instance, host } = this.#core;
    const { stallMs, progressMs } = host.timeouts;
    const now = host.clock.monotonic();
    const { iteration, memoryTransferredBytes, diskTransferredBytes } = progress;
    const seen = `${iteration} ${memoryTransferredBytes} ${diskTransferredBytes}`;
    this.#idleMs = seen === this.#seen ? this.#idleMs + Math.min(now - this.#lookedAt, 2 * progressMs) : 0;
    this.#seen = seen;
    this.#lookedAt = now;
    if (this.#idleMs >= stallMs)
      throw new MigrationError(`nothing has gone to the destination for ${stallMs} ms`, { instance });
  }
}

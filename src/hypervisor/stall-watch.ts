/** Noticing that nothing goes to a migration's destination any more: QEMU would wait for it for a quarter of an hour. */
import type { Clock, InstanceRef } from "../core/index.js";
import { MigrationError } from "../driver/index.js";

/** Whose migration it is. */
export interface WatchedMigration {
  readonly instance: InstanceRef;
  readonly host: {
    readonly clock: Clock;
    /** `progressMs`: time between two looks. `stallMs`: how long nothing may change. */
    readonly timeouts: { readonly progressMs: number; readonly stallMs: number };
  };
}

/** Of one connection over which memory goes. Time in which nobody gave an answer does not count: the hypervisor may have stood still as a whole. */
export class StallWatch {
  readonly #migration: WatchedMigration;
  #seen = "";
  #lookedAt = 0;
  #idleMs = 0;

  constructor(migration: WatchedMigration) {
    this.#migration = migration;
  }

  /**
   * One look at how far it is: figures that change whenever something has gone.
   * @throws MigrationError when they have been the same for `stallMs`
   */
  look(...figures: readonly (string | number | bigint)[]): void {
    const { instance, host } = this.#migration;
    const { stallMs, progressMs } = host.timeouts;
    const now = host.clock.monotonic();
    const seen = figures.join(" ");
    this.#idleMs = seen === this.#seen ? this.#idleMs + Math.min(now - this.#lookedAt, 2 * progressMs) : 0;
    this.#seen = seen;
    this.#lookedAt = now;
    if (this.#idleMs >= stallMs)
      throw new MigrationError(`nothing has gone to the destination for ${stallMs} ms`, { instance });
  }
}

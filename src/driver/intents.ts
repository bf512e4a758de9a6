/** Which state changes this driver is about to cause, so that the events that report them can say so. */
import type { LifecycleTransition } from "./events.js";

/** One announced change. Drop it when the act failed; otherwise it waits for its event. */
export interface Intent {
  drop(): void;
}

interface Announced {
  readonly transition: LifecycleTransition;
}

/**
 * Announced changes of each guest, oldest first. An event takes the first that it matches, and with it those before it: events of one
 * guest come in order, so theirs was lost.
 */
export class Intents {
  readonly #announced = new Map<string, Announced[]>();

  /** Call before acting. */
  announce(uuid: string, transition: LifecycleTransition): Intent {
    const entry: Announced = { transition };
    const queue = this.#announced.get(uuid);
    if (queue === undefined) this.#announced.set(uuid, [entry]);
    else queue.push(entry);
    return { drop: () => this.#remove(uuid, entry) };
  }

  /** True when the transition was announced, which is then used up. */
  take(uuid: string, transition: LifecycleTransition): boolean {
    const queue = this.#announced.get(uuid);
    const index = queue?.findIndex((entry) => entry.transition === transition) ?? -1;
    if (queue === undefined || index < 0) return false;
    queue.splice(0, index + 1);
    if (queue.length === 0) this.#announced.delete(uuid);
    return true;
  }

  /** Nothing more is expected of the guest. */
  forget(uuid: string): void {
    this.#announced.delete(uuid);
  }

  #remove(uuid: string, entry: Announced): void {
    const queue = this.#announced.get(uuid);
    const index = queue?.indexOf(entry) ?? -1;
    if (queue === undefined || index < 0) return;
    queue.splice(index, 1);
    if (queue.length === 0) this.#announced.delete(uuid);
  }
}

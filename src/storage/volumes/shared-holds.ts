/** What several volumes of a host need together, such as a mount or a session with a target: who needs it, kept where it outlives the process. */
import { createHash } from "node:crypto";
import { check, KeyedLock, StateCorruptError } from "../../core/index.js";
import type { StateStore } from "../../core/index.js";

const checkRecord = check.object({
  name: check.string({ max: 4096 }),
  holders: check.array(check.string({ max: 512 }), { min: 1, max: 65_536 }),
});

/** One for each kind of thing that is held. */
export class SharedHolds {
  readonly #state: StateStore;
  readonly #prefix: string;
  readonly #locks = new KeyedLock();

  constructor(state: StateStore, kind: string) {
    this.#state = state;
    this.#prefix = `holds/${kind}`;
  }

  /**
   * Notes the holder, and only then makes the thing be there: whoever comes after the death of this process knows of it. `make` must be repeatable: it is called each time. When it
   * fails, a holder that is new is forgotten, and with the last one the thing is taken away again.
   */
  async hold<T>(name: string, holder: string, make: () => Promise<T>, takeAway: () => Promise<void>): Promise<T> {
    return this.#locks.run(name, async () => {
      const before = await this.#read(name);
      const isNew = !before.includes(holder);
      if (isNew) await this.#write(name, [...before, holder]);
      try {
        return await make();
      } catch (error) {
        if (isNew) await this.#drop(name, holder, takeAway).catch(() => undefined);
        throw error;
      }
    });
  }

  /** Takes the thing away with its last holder; only when that has succeeded the holder is forgotten. Success when it does not hold. */
  async release(name: string, holder: string, takeAway: () => Promise<void>): Promise<void> {
    await this.#locks.run(name, () => this.#drop(name, holder, takeAway));
  }

  async holdersOf(name: string): Promise<readonly string[]> {
    return this.#read(name);
  }

  async #drop(name: string, holder: string, takeAway: () => Promise<void>): Promise<void> {
    const before = await this.#read(name);
    const left = before.filter((other) => other !== holder);
    if (left.length === before.length) return;
    if (left.length === 0) await takeAway();
    await this.#write(name, left);
  }

  async #read(name: string): Promise<readonly string[]> {
    const key = this.#keyOf(name);
    const value = await this.#state.get(key);
    if (value === undefined) return [];
    try {
      return checkRecord(value, key).holders;
    } catch (error) {
      throw new StateCorruptError("the record of what volumes share can't be read", { cause: error, detail: key });
    }
  }

  async #write(name: string, holders: readonly string[]): Promise<void> {
    if (holders.length === 0) await this.#state.delete(this.#keyOf(name));
    else await this.#state.put(this.#keyOf(name), { name, holders: [...holders] });
  }

  #keyOf(name: string): string {
    return `${this.#prefix}/${createHash("sha256").update(name).digest("hex")}`;
  }
}

/** Which slots of a bus are taken, as a bit array. */
import { BitSet } from "bitset";
import { ConflictError, InvalidArgumentError } from "../../core/index.js";
import { NoFreeSlotError } from "../../driver/index.js";

export interface SlotSetOptions {
  /** What the slots are of, for errors: `PCI Express port`. */
  readonly of: string;
  /** How many there are, from 0; the slots are numbered from 0. */
  readonly size: number;
  /** Slots that are never given out. */
  readonly reserved?: readonly number[];
}

/** The slots of one bus. `find` only looks, `reserve` takes, `release` gives back. */
export class SlotSet {
  readonly size: number;
  readonly #of: string;
  readonly #taken = new BitSet();
  readonly #reserved = new BitSet();

  constructor(options: SlotSetOptions) {
    this.#of = options.of;
    this.size = options.size;
    for (const slot of options.reserved ?? []) {
      this.#reserved.set(slot, 1);
      this.#taken.set(slot, 1);
    }
  }

  /** How many slots are free. */
  get free(): number {
    return this.size - (this.size === 0 ? 0 : (this.#taken.slice(0, this.size - 1)?.cardinality() ?? 0));
  }

  isTaken(slot: number): boolean {
    return this.#taken.get(slot) === 1;
  }

  /**
   * The slot asked for if it is free, else the first free one. Nothing is taken.
   * @throws NoFreeSlotError when all are taken; ConflictError when the one asked for is; InvalidArgumentError when there is no such slot
   */
  find(slot?: number): number {
    if (slot === undefined) {
      const first = this.#taken.not().ntz();
      if (!(first < this.size)) throw new NoFreeSlotError(`no ${this.#of} is free: all ${this.size} are taken`);
      return first;
    }
    if (!Number.isInteger(slot) || slot < 0 || slot >= this.size) {
      throw new InvalidArgumentError({
        field: "slot",
        value: slot,
        expected: `a ${this.#of} from 0 to ${this.size - 1}`,
      });
    }
    if (this.isTaken(slot)) throw new ConflictError(`${this.#of} ${slot} is taken`);
    return slot;
  }

  /** As {@link SlotSet.find}, and takes the slot. */
  reserve(slot?: number): number {
    const found = this.find(slot);
    this.#taken.set(found, 1);
    return found;
  }

  /** Gives a slot back; without effect for one that is free or never given out. */
  release(slot: number): void {
    if (this.#reserved.get(slot) === 0) this.#taken.set(slot, 0);
  }
}

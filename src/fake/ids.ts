/** Ids of a world, which its seed determines and of which none comes twice. */
import { SeededRandom } from "./seeded-random.js";
import type { IdSource } from "./spec.js";

/** What ids go on from. */
export interface IdState {
  readonly random: number;
  readonly macs: number;
}

const MAC_SPACE = 0x100_0000;
/** Odd, so that its multiples visit every address of the space before any comes again. */
const MAC_STRIDE = 0x9e_3779;

export class FakeIds implements IdSource {
  readonly #random: SeededRandom;
  #macs: number;

  constructor(state: IdState) {
    this.#random = new SeededRandom(state.random);
    this.#macs = state.macs;
  }

  static of(seed: number): FakeIds {
    const random = new SeededRandom(seed);
    return new FakeIds({ macs: random.below(MAC_SPACE), random: random.state });
  }

  get state(): IdState {
    return { random: this.#random.state, macs: this.#macs };
  }

  uuid(): string {
    return this.#random.uuid();
  }

  /** A unicast MAC address of the range that QEMU uses; 16,777,216 of them differ. */
  mac(): string {
    this.#macs = (this.#macs + MAC_STRIDE) % MAC_SPACE;
    const tail = this.#macs.toString(16).padStart(6, "0");
    return `52:54:00:${tail.slice(0, 2)}:${tail.slice(2, 4)}:${tail.slice(4)}`;
  }
}

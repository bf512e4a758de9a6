/** Random numbers that a seed determines. */
import { InvalidArgumentError } from "../core/index.js";

/** A small generator (a Weyl sequence with a mixing step) whose whole state is one 32-bit number. Not for secrets. */
export class SeededRandom {
  #state: number;

  constructor(seed: number) {
    if (!Number.isInteger(seed)) {
      throw new InvalidArgumentError({ field: "seed", value: seed, expected: "an integer" });
    }
    this.#state = seed >>> 0;
  }

  /** What a generator is made from that goes on where this one stands. */
  get state(): number {
    return this.#state;
  }

  /** 0 to 4,294,967,295. */
  nextUint32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** An integer from 0 to `limit - 1`. */
  below(limit: number): number {
    return Math.floor((this.nextUint32() / 0x1_0000_0000) * limit);
  }

  /** A version 4 uuid. */
  uuid(): string {
    const hex = Array.from({ length: 4 }, () => this.nextUint32().toString(16).padStart(8, "0")).join("");
    const variant = "89ab"[parseInt(hex.charAt(16), 16) & 3];
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`;
  }
}

/** Which addresses of a pool nobody has ever had, as a bit array. */
import { BitSet } from "bitset";
import { InvalidArgumentError } from "../../core/index.js";

/** Pools are at most as large as a /8. */
export const MAX_POOL = 2 ** 24;

/** Places 0 to `size` - 1. Untouched ones are handed out from the lowest on; what was touched once is not handed out again. */
export class AddressPool {
  readonly size: number;
  readonly #touched = new BitSet();
  #untouched: number;
  /** No place below is untouched. */
  #lowest = 0;

  /** @throws InvalidArgumentError when it is larger than a /8. */
  constructor(size: number) {
    if (!Number.isInteger(size) || size < 0 || size > MAX_POOL)
      throw new InvalidArgumentError({ field: "size", value: size, expected: `from 0 to ${MAX_POOL} addresses` });
    this.size = size;
    this.#untouched = size;
  }

  /** How many nobody has had. */
  get untouched(): number {
    return this.#untouched;
  }

  isTouched(place: number): boolean {
    return this.#touched.get(place) === 1;
  }

  /** False when it was touched already, or is no place of the pool. */
  touch(place: number): boolean {
    if (!Number.isInteger(place) || place < 0 || place >= this.size || this.isTouched(place)) return false;
    this.#touched.set(place, 1);
    this.#untouched -= 1;
    return true;
  }

  /** Takes back a touch that came to nothing. */
  untouch(place: number): void {
    if (!this.isTouched(place)) return;
    this.#touched.set(place, 0);
    this.#untouched += 1;
    this.#lowest = Math.min(this.#lowest, place);
  }

  /** Touches a range, both ends included. */
  touchRange(first: number, last: number): void {
    for (let place = Math.max(0, first); place <= Math.min(last, this.size - 1); place++) this.touch(place);
  }

  /** The lowest untouched place; `skip` of them are passed over, as far as there are so many. Nothing is touched. */
  next(skip = 0): number | undefined {
    if (this.#untouched === 0) return undefined;
    while (this.isTouched(this.#lowest)) this.#lowest += 1;
    let place = this.#lowest;
    for (let left = Math.min(skip, this.#untouched - 1); left > 0; left--) {
      place += 1;
      while (this.isTouched(place)) place += 1;
    }
    return place;
  }

  /** The lowest untouched place from this one on, or else of all. Nothing is touched. */
  nextFrom(start: number): number | undefined {
    if (this.#untouched === 0) return undefined;
    let place = Math.max(start, this.#lowest);
    while (place < this.size && this.isTouched(place)) place += 1;
    return place < this.size ? place : this.next();
  }

  /** Touches the lowest untouched place and returns it; undefined when all have been touched. */
  take(): number | undefined {
    const place = this.next();
    if (place !== undefined) this.touch(place);
    return place;
  }
}

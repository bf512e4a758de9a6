/** Which place of a pool to try next, so that processes which allocate at the same time seldom want the same one. */
import { randomInt } from "node:crypto";
import type { AddressPool } from "./address-pool.js";

/** How many claims after a lost one are made apart from others. */
const APART_CLAIMS = 256;
/** Places in a row that are tried apart from others; fewer in pools that would not hold many such runs. */
const RUN = 64;
/** Among how many times the length of a run its start is drawn; twice as many after each further lost claim. */
const RUNS = 64;
/** After so many lost claims in a row what others have taken has to be read; after each, once no more places than these seem left. */
const LOST_CLAIMS = 3;
const FEW_PLACES = 1_024;

/**
 * The lowest untouched place, as long as nobody else allocates. Once a claim was lost to another process, runs of places are
 * tried that begin by chance: each process then works in a part of the pool of its own, though no process knows of another.
 */
export class PlaceChooser {
  readonly #pool: AddressPool;
  readonly #random: (below: number) => number;
  #apart = 0;
  #lost = 0;
  /** Of the present run. */
  #at = 0;
  #left = 0;

  /** @param random a whole number from 0 to below its argument; for tests */
  constructor(pool: AddressPool, random: (below: number) => number = randomInt) {
    this.#pool = pool;
    this.#random = random;
  }

  /** Touches an untouched place and returns it; undefined when all have been touched. */
  take(): number | undefined {
    const { untouched } = this.#pool;
    if (untouched === 0 || !this.#stepApart()) return this.#pool.take();
    if (this.#left === 0) {
      const run = Math.max(1, Math.min(RUN, Math.floor(untouched / RUNS)));
      const window = Math.min(untouched, (run * RUNS) << this.#lost);
      this.#at = this.#pool.next(this.#random(window)) ?? 0;
      this.#left = run;
    }
    const place = this.#pool.nextFrom(this.#at);
    if (place === undefined) return undefined;
    this.#pool.touch(place);
    this.#at = place + 1;
    this.#left -= 1;
    return place;
  }

  /** Which of so many that are in the order in which they should be taken: the first, unless others allocate. */
  chooseAmong(count: number): number {
    return this.#stepApart() ? this.#random(count) : 0;
  }

  /** Whether claims are made apart from others at present. */
  get isApart(): boolean {
    return this.#apart > 0;
  }

  /** So many claims were lost in a row that it is time to read what others have taken. */
  get isBehind(): boolean {
    return this.#lost >= (this.#pool.untouched > FEW_PLACES ? LOST_CLAIMS : 1);
  }

  /** Another process was faster. */
  lost(): void {
    this.#lost += 1;
    this.#apart = APART_CLAIMS;
    this.#left = 0;
  }

  /** A claim was committed, or what others have taken was read. */
  caughtUp(): void {
    this.#lost = 0;
  }

  #stepApart(): boolean {
    if (this.#apart === 0) return false;
    this.#apart -= 1;
    return true;
  }
}

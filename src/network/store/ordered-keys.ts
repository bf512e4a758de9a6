/** Ids in the order of a number and then of themselves: found, added and removed by bisection. */

export interface OrderedKey {
  readonly order: number;
  readonly id: string;
}

/** By code units, which for ASCII is the order of bytes. */
export function compareKeys(a: OrderedKey, b: OrderedKey): number {
  if (a.order !== b.order) return a.order - b.order;
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

const CHUNK = 512;

/** A sorted list in chunks, none of them empty, so that a change in the midst of many keys moves few. */
export class OrderedKeys {
  readonly #chunks: OrderedKey[][] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** A key that is there must not be added again. */
  add(key: OrderedKey): void {
    this.#size += 1;
    // The first chunk that ends behind the key, or the last one.
    const at = Math.min(this.#chunkOf(key), this.#chunks.length - 1);
    const chunk = this.#chunks[at];
    if (chunk === undefined) {
      this.#chunks.push([key]);
      return;
    }
    chunk.splice(placeIn(chunk, key), 0, key);
    // Keys often come in order: a full chunk at the end is left full.
    if (chunk.length > CHUNK)
      this.#chunks.splice(at + 1, 0, chunk.splice(at === this.#chunks.length - 1 ? CHUNK : CHUNK / 2));
  }

  delete(key: OrderedKey): void {
    const at = this.#chunkOf(key);
    const chunk = this.#chunks[at];
    if (chunk === undefined) return;
    const place = placeIn(chunk, key);
    const found = chunk[place];
    if (found === undefined || compareKeys(found, key) !== 0) return;
    chunk.splice(place, 1);
    if (chunk.length === 0) this.#chunks.splice(at, 1);
    this.#size -= 1;
  }

  /** Up to `limit` keys behind `after`. */
  page(after: OrderedKey | undefined, limit: number): readonly OrderedKey[] {
    const page: OrderedKey[] = [];
    for (let at = after === undefined ? 0 : this.#chunkOf(after); page.length < limit; at++) {
      const chunk = this.#chunks[at];
      if (chunk === undefined) break;
      let start = 0;
      if (page.length === 0 && after !== undefined) {
        start = placeIn(chunk, after);
        const found = chunk[start];
        if (found !== undefined && compareKeys(found, after) === 0) start += 1;
      }
      page.push(...chunk.slice(start, start + limit - page.length));
    }
    return page;
  }

  /** The first chunk whose last key is not before this one. */
  #chunkOf(key: OrderedKey): number {
    return bisect(this.#chunks, (chunk) => compareKeys(chunk.at(-1) ?? key, key) < 0);
  }
}

/** Where the key is or would be. */
function placeIn(chunk: readonly OrderedKey[], key: OrderedKey): number {
  return bisect(chunk, (found) => compareKeys(found, key) < 0);
}

/** The place of the first item that is not `before`. */
function bisect<T>(items: readonly T[], before: (item: T) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const item = items[middle];
    if (item !== undefined && before(item)) low = middle + 1;
    else high = middle;
  }
  return low;
}

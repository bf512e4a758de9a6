/** A queue of bounded length in constant time at both ends. */

/** First in, first out; when it is full the oldest item makes room. Grows as needed up to its capacity. */
export class RingBuffer<T> {
  readonly capacity: number;
  #items: (T | undefined)[] = [];
  #head = 0;
  #size = 0;

  /** @param capacity how many items it holds at most, from 1. */
  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get size(): number {
    return this.#size;
  }

  /** Appends an item; true when the oldest one was dropped for it. */
  push(item: T): boolean {
    const full = this.#size === this.capacity;
    if (full) this.shift();
    if (this.#size === this.#items.length) this.#grow();
    this.#items[(this.#head + this.#size) % this.#items.length] = item;
    this.#size++;
    return full;
  }

  /** Takes the oldest item; undefined when there is none. */
  shift(): T | undefined {
    if (this.#size === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined;
    this.#head = (this.#head + 1) % this.#items.length;
    this.#size--;
    if (this.#size === 0 && this.#items.length > 64) this.clear();
    return item;
  }

  clear(): void {
    this.#items = [];
    this.#head = 0;
    this.#size = 0;
  }

  #grow(): void {
    const length = Math.min(this.capacity, Math.max(8, this.#items.length * 2));
    const items: (T | undefined)[] = [];
    for (let i = 0; i < this.#size; i++) items.push(this.#items[(this.#head + i) % this.#items.length]);
    while (items.length < length) items.push(undefined);
    this.#items = items;
    this.#head = 0;
  }
}

/** A queue without a bound of its own, in constant time at both ends, from the middle of which items may be given up. */

export class FifoQueue<T> implements Iterable<T> {
  #items: T[] = [];
  #head = 0;
  #stale = 0;

  push(item: T): void {
    this.#items.push(item);
  }

  /** The first item that is not stale; stale ones before it are dropped. */
  peek(isStale: (item: T) => boolean): T | undefined {
    while (this.#head < this.#items.length) {
      const item = this.#items[this.#head] as T;
      if (!isStale(item)) return item;
      this.#stale = Math.max(0, this.#stale - 1);
      this.shift();
    }
    return undefined;
  }

  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#head++;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Says that one more item has become stale; when they are many, they are taken out. */
  forgetOne(isStale: (item: T) => boolean): void {
    this.#stale++;
    if (this.#stale <= 64 || this.#stale * 2 < this.#items.length - this.#head) return;
    this.#items = this.#items.slice(this.#head).filter((item) => !isStale(item));
    this.#head = 0;
    this.#stale = 0;
  }

  /** Empties the queue. */
  drain(): readonly T[] {
    const items = this.#items.slice(this.#head);
    this.#items = [];
    this.#head = 0;
    this.#stale = 0;
    return items;
  }

  *[Symbol.iterator](): Iterator<T> {
    for (let i = this.#head; i < this.#items.length; i++) yield this.#items[i] as T;
  }
}

/** A priority queue of timers: earliest first, equal times in the order they were set, removal in logarithmic time. */

/** An entry of a {@link TimerHeap}; `index` is kept by the heap, -1 outside of it. */
export interface HeapTimer {
  readonly at: number;
  readonly sequence: number;
  index: number;
}

/** Binary heap over `at`, then `sequence`. */
export class TimerHeap<T extends HeapTimer> {
  readonly #items: T[] = [];

  get size(): number {
    return this.#items.length;
  }

  peek(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    item.index = this.#items.length;
    this.#items.push(item);
    this.#rise(item);
  }

  pop(): T | undefined {
    const first = this.#items[0];
    if (first !== undefined) this.remove(first);
    return first;
  }

  /** Takes an item out; false when it is not in the heap. */
  remove(item: T): boolean {
    const hole = item.index;
    if (hole < 0 || this.#items[hole] !== item) return false;
    item.index = -1;
    const last = this.#items.pop();
    if (last !== undefined && last !== item) {
      this.#place(last, hole);
      this.#rise(last);
      this.#sink(last);
    }
    return true;
  }

  #rise(item: T): void {
    while (item.index > 0) {
      const parent = this.#items[(item.index - 1) >> 1];
      if (parent === undefined || !before(item, parent)) return;
      this.#swap(item, parent);
    }
  }

  #sink(item: T): void {
    for (;;) {
      const left = this.#items[2 * item.index + 1];
      const right = this.#items[2 * item.index + 2];
      const child = right !== undefined && left !== undefined && before(right, left) ? right : left;
      if (child === undefined || !before(child, item)) return;
      this.#swap(child, item);
    }
  }

  #swap(a: T, b: T): void {
    const index = a.index;
    this.#place(a, b.index);
    this.#place(b, index);
  }

  #place(item: T, index: number): void {
    this.#items[index] = item;
    item.index = index;
  }
}

function before(a: HeapTimer, b: HeapTimer): boolean {
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence);
}

/** What a reader of events holds: its queue, and the end of its registrations when it stops. */
import type { EventSubscription } from "../../../core/index.js";

/** What a reader gets beside events. */
export type EventMarker =
  /** So many events were dropped here, because the reader was too slow. */
  | { readonly kind: "overflow"; readonly dropped: number }
  /** The connection was lost and made again: what happened meanwhile was not told. Look at the state of things. */
  | { readonly kind: "gap" };

/** An event, without its type. */
export interface LibvirtEvent<N extends string = string, D = object> {
  readonly kind: "event";
  readonly name: N;
  readonly data: D;
}

export type LibvirtEventItem = LibvirtEvent | EventMarker;

/** An item on its way, with the source that it is of; without one it is for all. An error ends the readers of its source. */
export type RoutedItem =
  | { readonly keys: string | undefined; readonly item: LibvirtEventItem }
  | { readonly keys: string; readonly error: Error };

export class EventReader implements EventSubscription<LibvirtEventItem> {
  readonly #queue: EventSubscription<RoutedItem>;
  readonly #release: () => Promise<void>;
  #released: Promise<void> | undefined;
  #unwatch: () => void = () => undefined;

  constructor(queue: EventSubscription<RoutedItem>, release: () => Promise<void>) {
    this.#queue = queue;
    this.#release = release;
  }

  get queued(): number {
    return this.#queue.queued;
  }

  get ended(): boolean {
    return this.#queue.ended;
  }

  /** Called when the reader stops. */
  onEnd(callback: () => void): void {
    this.#unwatch = callback;
  }

  async next(): Promise<IteratorResult<LibvirtEventItem, undefined>> {
    try {
      const result = await this.#queue.next();
      if (result.done === true) {
        await this.#stop();
        return { done: true, value: undefined };
      }
      const routed = result.value;
      return "item" in routed ? { done: false, value: routed.item } : await this.next();
    } catch (error) {
      await this.#stop();
      throw error;
    }
  }

  /** Ends the reading, and the registration when nobody else reads the same. Resolves when the daemon knows. */
  async return(): Promise<IteratorResult<LibvirtEventItem, undefined>> {
    await this.#queue.return();
    await this.#stop();
    return { done: true, value: undefined };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #stop(): Promise<void> {
    this.#unwatch();
    this.#released ??= this.#release();
    return this.#released;
  }
}

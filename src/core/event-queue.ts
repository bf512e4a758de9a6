/** Events from one producer to many readers, each with a bounded queue of its own that never holds the producer up. */
import { onAbort } from "./abort.js";
import { asError } from "./error.js";
import { RingBuffer } from "./ring-buffer.js";

/** How an {@link EventHub} tells a reader that it was too slow. */
export interface EventHubOptions<T> {
  /** Makes the event that a reader gets in the place of `dropped` events it lost. */
  readonly overflow: (dropped: number) => T;
}

/** What a subscriber wants. */
export interface SubscribeOptions<T> {
  /** Ends the subscription; what is queued is dropped, and the iteration ends without an error. */
  readonly signal?: AbortSignal | undefined;
  /** Which events to queue. Called while publishing; when it throws, the subscription ends with that error. */
  readonly filter?: ((event: T) => boolean) | undefined;
  /** How many events wait at most, from 1; the oldest is dropped when another comes. Default: 1024. */
  readonly capacity?: number | undefined;
  /** Events that the subscriber gets before all others, whatever the filter says. */
  readonly initial?: readonly T[] | undefined;
}

/**
 * A subscription: read it with `for await`, or with `next()`. It exists from the moment `subscribe()` returned, so nothing
 * published after that is missed. Leaving the loop, `return()`, disposing and the abort signal all end it.
 */
export interface EventSubscription<T> extends AsyncIterableIterator<T>, AsyncDisposable {
  next(): Promise<IteratorResult<T, undefined>>;
  return(): Promise<IteratorResult<T, undefined>>;
  [Symbol.asyncIterator](): EventSubscription<T>;
  /** Events that wait to be read. */
  readonly queued: number;
  /** Whether no further event will be queued; what is queued can still be read. */
  readonly ended: boolean;
}

const DEFAULT_CAPACITY = 1024;

/**
 * Publishes events to its subscribers in order. Publishing never waits and never throws. A reader that falls behind its
 * capacity loses its oldest events and gets one overflow marker in their place.
 */
export class EventHub<T> {
  readonly #overflow: (dropped: number) => T;
  readonly #subscribers = new Set<Subscriber<T>>();
  #closed: { readonly error?: Error } | undefined;

  constructor(options: EventHubOptions<T>) {
    this.#overflow = options.overflow;
  }

  /** How many subscriptions are open. */
  get size(): number {
    return this.#subscribers.size;
  }

  /** Whether {@link EventHub.close} was called. */
  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** Queues an event for every subscriber whose filter takes it. Without effect after `close()`. */
  publish(event: T): void {
    for (const subscriber of this.#subscribers) subscriber.offer(event);
  }

  /** Subscribes from now on. On a closed hub the subscription yields `initial` and ends as the others did. */
  subscribe(options: SubscribeOptions<T> = {}): EventSubscription<T> {
    const forget = (): void => void this.#subscribers.delete(subscriber);
    const subscriber = new Subscriber(options, this.#overflow, forget);
    this.#subscribers.add(subscriber);
    if (this.#closed !== undefined) subscriber.end(this.#closed.error);
    else subscriber.watch(options.signal);
    return subscriber;
  }

  /**
   * Ends every subscription after what it has queued; with an error, each one's last `next()` rejects with it.
   * A second call does nothing.
   */
  close(error?: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = error === undefined ? {} : { error };
    for (const subscriber of [...this.#subscribers]) subscriber.end(error);
  }
}

interface Reader<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: Error) => void;
}

class Subscriber<T> implements EventSubscription<T> {
  readonly #queue: RingBuffer<T>;
  readonly #readers = new RingBuffer<Reader<T>>(Number.MAX_SAFE_INTEGER);
  readonly #filter: ((event: T) => boolean) | undefined;
  readonly #overflow: (dropped: number) => T;
  readonly #forget: () => void;
  #unwatch: () => void = () => undefined;
  #initial: readonly T[];
  #dropped = 0;
  #ended = false;
  #error: Error | undefined;

  constructor(options: SubscribeOptions<T>, overflow: (dropped: number) => T, forget: () => void) {
    this.#queue = new RingBuffer(Math.max(1, Math.trunc(options.capacity ?? DEFAULT_CAPACITY)));
    this.#filter = options.filter;
    this.#initial = [...(options.initial ?? [])];
    this.#overflow = overflow;
    this.#forget = forget;
  }

  get queued(): number {
    return this.#initial.length + (this.#dropped > 0 ? 1 : 0) + this.#queue.size;
  }

  get ended(): boolean {
    return this.#ended;
  }

  offer(event: T): void {
    if (this.#ended) return;
    try {
      if (this.#filter?.(event) === false) return;
    } catch (error) {
      return this.end(asError(error));
    }
    const reader = this.#readers.shift();
    if (reader !== undefined) reader.resolve({ done: false, value: event });
    else if (this.#queue.push(event)) this.#dropped++;
  }

  watch(signal: AbortSignal | undefined): void {
    this.#unwatch = onAbort(signal, () => this.#stop());
  }

  end(error: Error | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#unwatch();
    this.#forget();
    for (let reader = this.#readers.shift(); reader !== undefined; reader = this.#readers.shift()) this.#serve(reader);
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve, reject) => {
      const reader: Reader<T> = { resolve, reject };
      if (this.#ended || this.queued > 0) this.#serve(reader);
      else this.#readers.push(reader);
    });
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#stop();
    return Promise.resolve({ done: true, value: undefined });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  [Symbol.asyncIterator](): EventSubscription<T> {
    return this;
  }

  #stop(): void {
    this.end(undefined);
    this.#error = undefined;
    this.#initial = [];
    this.#dropped = 0;
    this.#queue.clear();
  }

  #serve(reader: Reader<T>): void {
    const [first, ...rest] = this.#initial;
    if (this.#initial.length > 0) {
      this.#initial = rest;
      return reader.resolve({ done: false, value: first as T });
    }
    if (this.#dropped > 0) return this.#serveOverflow(reader);
    if (this.#queue.size > 0) return reader.resolve({ done: false, value: this.#queue.shift() as T });
    const error = this.#error;
    this.#error = undefined;
    if (error === undefined) reader.resolve({ done: true, value: undefined });
    else reader.reject(error);
  }

  #serveOverflow(reader: Reader<T>): void {
    const dropped = this.#dropped;
    this.#dropped = 0;
    try {
      reader.resolve({ done: false, value: this.#overflow(dropped) });
    } catch (error) {
      reader.reject(asError(error));
    }
  }
}

/** Work that several callers want at once, done once for all of them. */
import { AbortedError, raceAbort, throwIfAborted } from "../core/index.js";
import type { TransferOptions, TransferProgress } from "./images/image-store.js";

interface Flight<T> {
  readonly result: Promise<T>;
  readonly controller: AbortController;
  readonly listeners: Set<(progress: TransferProgress) => void>;
  waiting: number;
}

/** By key: who comes while the work is under way joins it. It is aborted when the last of its callers has given up. */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();

  async run(key: string, options: TransferOptions, work: (options: TransferOptions) => Promise<T>): Promise<T> {
    throwIfAborted(options.signal);
    const flight = this.#flights.get(key) ?? this.#start(key, work);
    const { onProgress, signal } = options;
    const listener = (progress: TransferProgress): void => onProgress?.(progress);
    flight.listeners.add(listener);
    flight.waiting++;
    try {
      return await raceAbort(flight.result, signal);
    } finally {
      flight.listeners.delete(listener);
      if (--flight.waiting === 0) this.#abandon(key, flight);
    }
  }

  #start(key: string, work: (options: TransferOptions) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const listeners = new Set<(progress: TransferProgress) => void>();
    const onProgress = (progress: TransferProgress): void => listeners.forEach((listener) => listener(progress));
    const flight: Flight<T> = {
      result: work({ signal: controller.signal, onProgress }),
      controller,
      listeners,
      waiting: 0,
    };
    this.#flights.set(key, flight);
    const forget = (): void => this.#forget(key, flight);
    flight.result.then(forget, forget);
    return flight;
  }

  /** Later callers start anew: they don't join what is being aborted. Does nothing when the work has settled. */
  #abandon(key: string, flight: Flight<T>): void {
    this.#forget(key, flight);
    flight.controller.abort(new AbortedError({ operation: "what nobody waits for any more" }));
  }

  #forget(key: string, flight: Flight<T>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
  }
}

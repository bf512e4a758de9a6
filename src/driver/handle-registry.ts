/** Long operations under way, so that asking again for the same work gives the same handle. */
import type { OperationHandle } from "../core/index.js";

export class HandleRegistry {
  readonly #running = new Map<string, OperationHandle<unknown>>();

  /** The handle under the key while its operation runs. The key names the kind of operation, and so the type of its result. */
  find<T>(key: string): OperationHandle<T> | undefined {
    return this.#running.get(key) as OperationHandle<T> | undefined;
  }

  /** The handle that is under way under the key, or the one that `start` makes. */
  join<T>(key: string, start: () => OperationHandle<T>): OperationHandle<T> {
    const running = this.find<T>(key);
    if (running !== undefined) return running;
    const handle = start();
    if (handle.state !== "running") return handle;
    this.#running.set(key, handle);
    const forget = (): void => {
      if (this.#running.get(key) === handle) this.#running.delete(key);
    };
    handle.result.then(forget, forget);
    return handle;
  }

  get size(): number {
    return this.#running.size;
  }
}

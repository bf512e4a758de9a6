/** What a driver keeps durably, on the simulated host's disk: it outlives the driver's process. */
import { checkStateKey } from "../core/index.js";
import type { JsonValue, StateStore } from "../core/index.js";
import type { FakeProcess } from "./process.js";

export class FakeStateStore implements StateStore {
  readonly #process: FakeProcess;
  readonly #store: StateStore;

  /** Over the host's own disk, or over a store that the embedder has brought. */
  constructor(process: FakeProcess, store: StateStore = new HostState(process.host.state)) {
    this.#process = process;
    this.#store = store;
  }

  get(key: string): Promise<JsonValue | undefined> {
    return this.#process.pass("state.get", { subject: key }, () => this.#store.get(key));
  }

  put(key: string, value: JsonValue): Promise<void> {
    return this.#process.pass("state.put", { subject: key }, () => this.#store.put(key, value));
  }

  delete(key: string): Promise<void> {
    return this.#process.pass("state.delete", { subject: key }, () => this.#store.delete(key));
  }

  list(prefix: string): Promise<readonly string[]> {
    return this.#process.pass("state.list", { subject: prefix }, () => this.#store.list(prefix));
  }
}

/** Keeps each value as its JSON text, which is small and shares nothing with the driver's own objects. */
class HostState implements StateStore {
  readonly #values: Map<string, string>;

  constructor(values: Map<string, string>) {
    this.#values = values;
  }

  async get(key: string): Promise<JsonValue | undefined> {
    checkStateKey(key);
    const text = this.#values.get(key);
    return text === undefined ? undefined : (JSON.parse(text) as JsonValue);
  }

  async put(key: string, value: JsonValue): Promise<void> {
    checkStateKey(key);
    this.#values.set(key, JSON.stringify(value));
  }

  async delete(key: string): Promise<void> {
    checkStateKey(key);
    this.#values.delete(key);
  }

  async list(prefix: string): Promise<readonly string[]> {
    return [...this.#values.keys()].filter((key) => key.startsWith(prefix)).sort();
  }
}

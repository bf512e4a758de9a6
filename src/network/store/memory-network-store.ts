/** A store that lasts as long as the object: for tests, and for clouds of one process that keep nothing. */
import { ClosedError, throwIfAborted } from "../../core/index.js";
import { checkChanges, checkId, checkKind, checkQuery } from "./check-changes.js";
import type {
  FindRecords,
  FoundRecord,
  NetworkStore,
  NetworkStoreOptions,
  StoreChange,
  StoredRecord,
} from "./network-store.js";
import { RecordTable, encodeChange } from "./record-table.js";
import { StoreConflictError } from "./store-errors.js";

/** {@link NetworkStore} in the memory of this process. Several managers may share one. */
export class MemoryNetworkStore implements NetworkStore {
  readonly #table = new RecordTable();
  #closed = false;

  async open(options: NetworkStoreOptions = {}): Promise<void> {
    this.#enter(options);
  }

  async get(kind: string, id: string, options: NetworkStoreOptions = {}): Promise<StoredRecord | undefined> {
    this.#enter(options);
    checkKind(kind);
    checkId(id);
    return this.#table.get(kind, id);
  }

  async getByUnique(kind: string, key: string, options: NetworkStoreOptions = {}): Promise<StoredRecord | undefined> {
    this.#enter(options);
    checkKind(kind);
    checkId(key, "key");
    return this.#table.getByUnique(kind, key);
  }

  async find(query: FindRecords, options: NetworkStoreOptions = {}): Promise<readonly FoundRecord[]> {
    this.#enter(options);
    return this.#table.find(query, checkQuery(query).limit);
  }

  async count(kind: string, index: string, options: NetworkStoreOptions = {}): Promise<number> {
    this.#enter(options);
    checkKind(kind);
    checkId(index, "index");
    return this.#table.count(kind, index);
  }

  async commit(changes: readonly StoreChange[], options: NetworkStoreOptions = {}): Promise<readonly number[]> {
    this.#enter(options);
    checkChanges(changes);
    const encoded = changes.map(encodeChange);
    const conflict = this.#table.conflictOf(encoded);
    if (conflict !== undefined) throw new StoreConflictError(conflict);
    return this.#table.apply(encoded);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #enter(options: NetworkStoreOptions): void {
    throwIfAborted(options.signal);
    if (this.#closed) throw new ClosedError("the store of networks was closed");
  }
}

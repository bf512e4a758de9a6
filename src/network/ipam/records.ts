/** Typed access to the records of a store. */
import type { JsonObject } from "../../core/index.js";
import type {
  DeleteRecord,
  ExpectRecord,
  NetworkStore,
  NetworkStoreOptions,
  PutRecord,
  StoredRecord,
} from "../store/network-store.js";

/** How values of a type are kept. */
export interface RecordType<T> {
  readonly kind: string;
  readonly idOf: (value: T) => string;
  readonly uniqueOf?: (value: T) => readonly string[];
  readonly indexOf?: (value: T) => readonly string[];
  readonly orderOf?: (value: T) => number;
}

export interface Versioned<T> {
  readonly value: T;
  readonly version: number;
}

/** A version to put a new record with. */
export const ABSENT = 0;

/** The records of one kind. What they hold was put by this package, through this class. */
export class Records<T extends object> {
  readonly #store: NetworkStore;
  readonly #type: RecordType<T>;

  constructor(store: NetworkStore, type: RecordType<T>) {
    this.#store = store;
    this.#type = type;
  }

  get kind(): string {
    return this.#type.kind;
  }

  async get(id: string, options?: NetworkStoreOptions): Promise<Versioned<T> | undefined> {
    return opened<T>(await this.#store.get(this.kind, id, options));
  }

  async getByUnique(key: string, options?: NetworkStoreOptions): Promise<Versioned<T> | undefined> {
    return opened<T>(await this.#store.getByUnique(this.kind, key, options));
  }

  /** The first `limit` with an index key, in their order. */
  async first(index: string, limit: number, options?: NetworkStoreOptions): Promise<readonly Versioned<T>[]> {
    const records = await this.#store.find({ kind: this.kind, index, limit }, options);
    return records.map((record) => ({ value: valueOf<T>(record), version: record.version }));
  }

  /** All with an index key, or all; a page at a time. With `since`, those of that order or a later one. */
  async all(index?: string, options?: NetworkStoreOptions, since?: number): Promise<readonly Versioned<T>[]> {
    const found: Versioned<T>[] = [];
    const limit = 5_000;
    // The first of all ids.
    let after = since === undefined ? undefined : { order: Math.trunc(since), id: "!" };
    for (;;) {
      const page = await this.#store.find({ kind: this.kind, index, after, limit }, options);
      for (const record of page) found.push({ value: valueOf<T>(record), version: record.version });
      after = page.at(-1);
      if (page.length < limit) return found;
    }
  }

  /** `expected`: the version that was read, or {@link ABSENT}. */
  put(value: T, expected: number): PutRecord {
    const { kind, idOf, uniqueOf, indexOf, orderOf } = this.#type;
    return {
      op: "put",
      kind,
      id: idOf(value),
      expected,
      value: withoutUndefined(value),
      unique: uniqueOf?.(value),
      index: indexOf?.(value),
      order: orderOf?.(value),
    };
  }

  delete({ value, version }: Versioned<T>): DeleteRecord {
    return { op: "delete", kind: this.kind, id: this.#type.idOf(value), expected: version };
  }

  expect({ value, version }: Versioned<T>): ExpectRecord {
    return { op: "expect", kind: this.kind, id: this.#type.idOf(value), expected: version };
  }
}

function opened<T>(record: StoredRecord | undefined): Versioned<T> | undefined {
  return record === undefined ? undefined : { value: valueOf<T>(record), version: record.version };
}

function valueOf<T>({ value }: { readonly value: unknown }): T {
  return value as T;
}

function withoutUndefined(value: object): JsonObject {
  return Object.fromEntries(Object.entries(value as JsonObject).filter(([, item]) => item !== undefined));
}

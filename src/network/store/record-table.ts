/** The records of a store in memory, as a state machine: the same commits in the same order give the same records and answers. */
import type { JsonObject } from "../../core/index.js";
import { encodeValue } from "./check-changes.js";
import type { FindRecords, FoundRecord, LimitRecords, PutRecord, StoreChange } from "./network-store.js";
import { OrderedKeys } from "./ordered-keys.js";
import type { StoreConflict } from "./store-errors.js";

/** A record with all that is kept of it, as a snapshot holds it. */
export interface TableRecord {
  readonly kind: string;
  readonly id: string;
  readonly version: number;
  /** JSON text: what is handed out is always fresh. */
  readonly text: string;
  readonly unique: readonly string[];
  readonly index: readonly string[];
  readonly order: number;
}

interface Kind {
  readonly records: Map<string, TableRecord>;
  readonly all: OrderedKeys;
  readonly unique: Map<string, string>;
  readonly index: Map<string, OrderedKeys>;
}

/** A change with its value as text. */
export type EncodedChange = Exclude<StoreChange, PutRecord> | (Omit<PutRecord, "value"> & { readonly text: string });

/** @throws InvalidArgumentError when a value can't be stored. */
export function encodeChange(change: StoreChange): EncodedChange {
  if (change.op !== "put") return change;
  const { value, ...rest } = change;
  return { ...rest, text: encodeValue(value) };
}

/** Not safe against changes by others: stores see to that. */
export class RecordTable {
  readonly #kinds = new Map<string, Kind>();
  #lastVersion = 0;

  /** The highest version given so far. */
  get lastVersion(): number {
    return this.#lastVersion;
  }

  get(kind: string, id: string): FoundRecord | undefined {
    const record = this.#kinds.get(kind)?.records.get(id);
    return record === undefined ? undefined : found(record);
  }

  getByUnique(kind: string, key: string): FoundRecord | undefined {
    const id = this.#kinds.get(kind)?.unique.get(key);
    return id === undefined ? undefined : this.get(kind, id);
  }

  find(query: FindRecords, limit: number): readonly FoundRecord[] {
    const kind = this.#kinds.get(query.kind);
    const keys = query.index === undefined ? kind?.all : kind?.index.get(query.index);
    const after =
      query.after === undefined || query.index !== undefined ? query.after : { order: 0, id: query.after.id };
    return (keys?.page(after, limit) ?? []).flatMap(({ id }) => {
      const record = kind?.records.get(id);
      return record === undefined ? [] : [found(record)];
    });
  }

  count(kind: string, index: string): number {
    return this.#kinds.get(kind)?.index.get(index)?.size ?? 0;
  }

  /** What stands in the way of a commit, if anything does. */
  conflictOf(changes: readonly EncodedChange[]): StoreConflict | undefined {
    for (const change of changes) {
      if (change.op === "limit") continue;
      const { kind, id } = change;
      const version = this.#kinds.get(kind)?.records.get(id)?.version ?? 0;
      if (version !== change.expected) return { reason: "version", kind, id };
    }
    return this.#uniqueConflict(changes) ?? this.#limitConflict(changes);
  }

  /** Makes changes that nothing stands in the way of. Returns the versions of the puts. */
  apply(changes: readonly EncodedChange[]): readonly number[] {
    const versions: number[] = [];
    for (const change of changes) if (change.op === "delete" || change.op === "put") this.#remove(change);
    for (const change of changes) {
      if (change.op !== "put") continue;
      const { kind, id, text, unique = [], index = [], order = 0 } = change;
      this.#lastVersion += 1;
      versions.push(this.#lastVersion);
      this.#insert({ kind, id, version: this.#lastVersion, text, unique, index, order });
    }
    return versions;
  }

  /** All records, for a snapshot. */
  *records(): IterableIterator<TableRecord> {
    for (const kind of this.#kinds.values()) yield* kind.records.values();
  }

  /** Takes up a record of a snapshot. */
  restore(record: TableRecord): void {
    this.#insert(record);
    this.#lastVersion = Math.max(this.#lastVersion, record.version);
  }

  /** Takes up the highest version of a snapshot: that of a record which has since been deleted may be higher than any other's. */
  restoreVersion(version: number): void {
    this.#lastVersion = Math.max(this.#lastVersion, version);
  }

  #uniqueConflict(changes: readonly EncodedChange[]): StoreConflict | undefined {
    const leaving = new Set<string>();
    for (const change of changes)
      if (change.op === "put" || change.op === "delete") leaving.add(`${change.kind} ${change.id}`);
    const taken = new Set<string>();
    for (const change of changes) {
      if (change.op !== "put") continue;
      for (const key of change.unique ?? []) {
        const holder = this.#kinds.get(change.kind)?.unique.get(key);
        const isFree = holder === undefined || leaving.has(`${change.kind} ${holder}`);
        if (!isFree || taken.has(`${change.kind} ${key}`))
          return { reason: "unique", kind: change.kind, id: change.id, key };
        taken.add(`${change.kind} ${key}`);
      }
    }
    return undefined;
  }

  #limitConflict(changes: readonly EncodedChange[]): StoreConflict | undefined {
    for (const limit of changes) {
      if (limit.op !== "limit") continue;
      if (this.#countAfter(limit, changes) > limit.atMost)
        return { reason: "limit", kind: limit.kind, id: limit.index };
    }
    return undefined;
  }

  #countAfter(limit: LimitRecords, changes: readonly EncodedChange[]): number {
    let count = this.count(limit.kind, limit.index);
    for (const change of changes) {
      if ((change.op !== "put" && change.op !== "delete") || change.kind !== limit.kind) continue;
      const before = this.#kinds.get(change.kind)?.records.get(change.id);
      if (before?.index.includes(limit.index) === true) count -= 1;
      if (change.op === "put" && change.index?.includes(limit.index) === true) count += 1;
    }
    return count;
  }

  #remove({ kind: name, id }: { readonly kind: string; readonly id: string }): void {
    const kind = this.#kinds.get(name);
    const record = kind?.records.get(id);
    if (kind === undefined || record === undefined) return;
    kind.records.delete(id);
    kind.all.delete({ order: 0, id });
    for (const key of record.unique) kind.unique.delete(key);
    for (const key of record.index) {
      const keys = kind.index.get(key);
      keys?.delete({ order: record.order, id });
      if (keys?.size === 0) kind.index.delete(key);
    }
  }

  #insert(record: TableRecord): void {
    const { kind: name, id, order } = record;
    const kind: Kind = this.#kinds.get(name) ?? {
      records: new Map(),
      all: new OrderedKeys(),
      unique: new Map(),
      index: new Map(),
    };
    this.#kinds.set(name, kind);
    kind.records.set(id, record);
    kind.all.add({ order: 0, id });
    for (const key of record.unique) kind.unique.set(key, id);
    for (const key of record.index) {
      const keys = kind.index.get(key) ?? new OrderedKeys();
      kind.index.set(key, keys);
      keys.add({ order, id });
    }
  }
}

function found({ kind, id, version, text, order }: TableRecord): FoundRecord {
  return { kind, id, version, order, value: JSON.parse(text) as JsonObject };
}

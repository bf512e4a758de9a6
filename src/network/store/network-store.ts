/** Where the state of networks lives: versioned records that many processes change by compare-and-set. */
import type { JsonObject } from "../../core/index.js";

export interface NetworkStoreOptions {
  /** Ends the wait. A commit that was under way may have happened: see `StoreUnavailableError.outcomeUnknown`. */
  readonly signal?: AbortSignal | undefined;
}

/** One record as it was read. */
export interface StoredRecord {
  /** 1 to 32 characters of `[a-z0-9-]`, beginning with a letter. */
  readonly kind: string;
  /** 1 to 255 visible ASCII characters. */
  readonly id: string;
  /** Grows with each change; never used twice for one id, also when the record was deleted in between. */
  readonly version: number;
  readonly value: JsonObject;
}

/** Makes a record (`expected` is 0) or replaces the one of this version. Its keys and order are replaced with it. */
export interface PutRecord {
  readonly op: "put";
  readonly kind: string;
  readonly id: string;
  readonly expected: number;
  /** At most 64 KiB as JSON, without NUL characters and half surrogate pairs. */
  readonly value: JsonObject;
  /** No two records of the kind may have one of these in common. At most 16, of the form of an id. */
  readonly unique?: readonly string[] | undefined;
  /** What it can be found by. At most 16, of the form of an id. */
  readonly index?: readonly string[] | undefined;
  /** `find` lists by it, then by id. A whole number; default 0. */
  readonly order?: number | undefined;
}

/** Deletes the record of this version. */
export interface DeleteRecord {
  readonly op: "delete";
  readonly kind: string;
  readonly id: string;
  readonly expected: number;
}

/** The commit holds only while the record is of this version. */
export interface ExpectRecord {
  readonly op: "expect";
  readonly kind: string;
  readonly id: string;
  readonly expected: number;
}

/** The commit holds only if no more records of the kind than these have the index key once it is done. */
export interface LimitRecords {
  readonly op: "limit";
  readonly kind: string;
  readonly index: string;
  readonly atMost: number;
}

export type StoreChange = PutRecord | DeleteRecord | ExpectRecord | LimitRecords;

export interface FindRecords {
  readonly kind: string;
  /** Absent: every record of the kind, by id. */
  readonly index?: string | undefined;
  /** The last record of the page before. */
  readonly after?: { readonly order: number; readonly id: string } | undefined;
  /** 1 to 10000; default 1000. */
  readonly limit?: number | undefined;
}

/** A record with its place in the order of its index. */
export interface FoundRecord extends StoredRecord {
  readonly order: number;
}

/**
 * What the managers keep their state in. Every commit is atomic, isolated and durable when it resolves, whichever of many
 * processes makes it; a process that ends at any moment leaves a commit done or not done, never in part.
 */
export interface NetworkStore extends AsyncDisposable {
  /** Connects and brings the schema up to date; every other call does it by itself. Rejects with what it would. */
  open(options?: NetworkStoreOptions): Promise<void>;
  get(kind: string, id: string, options?: NetworkStoreOptions): Promise<StoredRecord | undefined>;
  /** The record of the kind that has this unique key. */
  getByUnique(kind: string, key: string, options?: NetworkStoreOptions): Promise<StoredRecord | undefined>;
  find(query: FindRecords, options?: NetworkStoreOptions): Promise<readonly FoundRecord[]>;
  count(kind: string, index: string, options?: NetworkStoreOptions): Promise<number>;
  /**
   * All changes or none: 1 to 20000 of them, each record at most once.
   * @returns the new version of each put, in their order.
   * @throws StoreConflictError when a version, a unique key or a limit does not hold: nothing was changed.
   * @throws StoreUnavailableError when the store can't be reached.
   */
  commit(changes: readonly StoreChange[], options?: NetworkStoreOptions): Promise<readonly number[]>;
  /** Lets go of files and connections. Later calls reject with `ClosedError`. */
  close(): Promise<void>;
}

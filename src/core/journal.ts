/** Operations that survive the process: begun on record, and completed or undone by whoever comes next. */
import { cloneJsonObject } from "./clone-json.js";
import { systemClock } from "./clock.js";
import type { Clock } from "./clock.js";
import { asError, HyperviseError } from "./error.js";
import type { JsonObject } from "./json.js";
import { decodeOperation, encodeOperation } from "./operation-record.js";
import type { OperationRecord } from "./operation-record.js";
import type { StateStore } from "./state-store.js";
import { Transaction, undoEffects } from "./transaction.js";
import type { UndoTable } from "./transaction.js";

/** What a {@link Journal} works with. */
export interface JournalOptions {
  readonly store: StateStore;
  readonly undo: UndoTable;
  readonly clock?: Clock | undefined;
  /** The keys of its records begin with this and a slash. Default: `journal`. */
  readonly prefix?: string | undefined;
  /** Default: random UUIDs. Must be fit for a state key and never repeat. */
  readonly newId?: (() => string) | undefined;
}

/** What is to be done. */
export interface BeginOperation {
  readonly kind: string;
  readonly instanceUuid?: string | undefined;
  readonly params: JsonObject;
}

/** Completes an operation whose point of no return was passed. Idempotent: it may have been completed all but for the record. */
export type CompletionHandler = (operation: OperationRecord) => Promise<void>;

/** What became of one unfinished operation. */
export interface RecoveredOperation {
  readonly id: string;
  readonly kind?: string;
  readonly instanceUuid?: string;
  /** `failed`: it stays on record, for the next recovery. */
  readonly outcome: "undone" | "completed" | "failed";
  readonly errors: readonly Error[];
}

/** What {@link Journal.recover} found and did, newest operation first. */
export interface RecoveryReport {
  readonly operations: readonly RecoveredOperation[];
  /** Whether no operation is left on record. */
  readonly clean: boolean;
}

/**
 * The journal of one driver on one host. Only one living process may use a store and prefix at a time (a `FileLock` of
 * src/host sees to that): `recover()` takes every record that is not its own process's for an orphan.
 */
export class Journal {
  readonly #store: StateStore;
  readonly #undo: UndoTable;
  readonly #clock: Clock;
  readonly #prefix: string;
  readonly #newId: () => string;
  readonly #active = new Set<string>();
  #sequence = 0;

  constructor(options: JournalOptions) {
    this.#store = options.store;
    this.#undo = options.undo;
    this.#clock = options.clock ?? systemClock;
    this.#prefix = options.prefix ?? "journal";
    this.#newId = options.newId ?? (() => globalThis.crypto.randomUUID());
  }

  /** How many transactions of this process are open. */
  get active(): number {
    return this.#active.size;
  }

  /** Begins an operation; it is on record when this resolves. */
  async begin(operation: BeginOperation): Promise<Transaction> {
    const { kind, instanceUuid } = operation;
    const record: OperationRecord = {
      id: this.#newId(),
      kind,
      ...(instanceUuid === undefined ? {} : { instanceUuid }),
      params: cloneJsonObject(operation.params, "params"),
      startedAt: this.#clock.now(),
      sequence: this.#sequence++,
      phase: "begun",
      committed: false,
      effects: [],
    };
    const key = this.#keyOf(record.id);
    const release = (): void => void this.#active.delete(record.id);
    this.#active.add(record.id);
    try {
      await this.#store.put(key, encodeOperation(record));
    } catch (error) {
      // It may have been written all the same; an empty record is harmless, but nobody would take it away.
      await this.#store.delete(key).catch(() => undefined);
      release();
      throw error;
    }
    return new Transaction({ store: this.#store, key, undo: this.#undo, release }, record);
  }

  /**
   * Every operation on record that this process is not working on, newest first.
   * @throws StateCorruptError when a record can't be read.
   */
  async pending(): Promise<OperationRecord[]> {
    const found = await this.#find();
    const corrupt = found.corrupt[0];
    if (corrupt !== undefined) throw corrupt.error;
    return found.operations;
  }

  /**
   * Ends what an earlier process left unfinished, newest operation first: undoes what had not passed its point of no
   * return, and has `handlers[kind]` complete what had. Failures are reported, don't stop the rest, and leave the
   * operation on record. With `only`, the operations that it takes, and no records that can't be read.
   */
  async recover(
    handlers: { readonly [kind: string]: CompletionHandler } = {},
    only?: (operation: OperationRecord) => boolean,
  ): Promise<RecoveryReport> {
    const found = await this.#find();
    const operations = only === undefined ? found.operations : found.operations.filter(only);
    const corrupt = only === undefined ? found.corrupt : [];
    const results: RecoveredOperation[] = corrupt.map(({ id, error }) => ({ id, outcome: "failed", errors: [error] }));
    for (const operation of operations) results.push(await this.#recoverOne(operation, handlers));
    return { operations: results, clean: results.every((result) => result.outcome !== "failed") };
  }

  async #recoverOne(
    operation: OperationRecord,
    handlers: { readonly [kind: string]: CompletionHandler },
  ): Promise<RecoveredOperation> {
    const { id, kind, instanceUuid } = operation;
    const about = { id, kind, ...(instanceUuid === undefined ? {} : { instanceUuid }) };
    this.#active.add(id);
    try {
      if (operation.committed) {
        await completionOf(operation, handlers)(operation);
      } else {
        const { remaining, errors } = await undoEffects(operation, this.#undo);
        if (remaining.length > 0) {
          await this.#store.put(this.#keyOf(id), encodeOperation({ ...operation, effects: remaining }));
          return { ...about, outcome: "failed", errors };
        }
      }
      await this.#store.delete(this.#keyOf(id));
      return { ...about, outcome: operation.committed ? "completed" : "undone", errors: [] };
    } catch (error) {
      return { ...about, outcome: "failed", errors: [asError(error)] };
    } finally {
      this.#active.delete(id);
    }
  }

  async #find(): Promise<{ operations: OperationRecord[]; corrupt: { id: string; error: Error }[] }> {
    const operations: OperationRecord[] = [];
    const corrupt: { id: string; error: Error }[] = [];
    for (const key of await this.#store.list(`${this.#prefix}/`)) {
      const id = key.slice(this.#prefix.length + 1);
      if (this.#active.has(id)) continue;
      try {
        const value = await this.#store.get(key);
        if (value !== undefined) operations.push(decodeOperation(key, value));
      } catch (error) {
        corrupt.push({ id, error: asError(error) });
      }
    }
    operations.sort((a, b) => b.startedAt - a.startedAt || b.sequence - a.sequence);
    return { operations, corrupt };
  }

  #keyOf(id: string): string {
    return `${this.#prefix}/${id}`;
  }
}

function completionOf(
  operation: OperationRecord,
  handlers: { readonly [kind: string]: CompletionHandler },
): CompletionHandler {
  const handler = Object.hasOwn(handlers, operation.kind) ? handlers[operation.kind] : undefined;
  if (handler !== undefined) return handler;
  throw new HyperviseError(`nothing knows how to complete an operation of kind ${operation.kind}`, {
    code: "INTERNAL",
  });
}

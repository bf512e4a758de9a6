/** One operation under way: every effect is on record before it happens. */
import { cloneJsonObject } from "./clone-json.js";
import { ClosedError, ConflictError, InvalidArgumentError, UndoFailedError } from "./common-errors.js";
import { asError, isHyperviseError } from "./error.js";
import type { JsonObject } from "./json.js";
import { encodeOperation } from "./operation-record.js";
import type { EffectRecord, OperationRecord } from "./operation-record.js";
import type { StateStore } from "./state-store.js";

/** What an undo may look at. */
export interface UndoContext {
  readonly operation: OperationRecord;
}

/**
 * How to undo each kind of effect, from its data alone. An undo must succeed when there is nothing to undo: it also runs
 * for effects that were announced and never happened, and may run twice.
 */
export interface UndoTable {
  readonly [kind: string]: (data: JsonObject, context: UndoContext) => Promise<void>;
}

/** Replaces the data of an effect on record, durably: for what is known only while it happens, such as a process id. */
export type AmendEffect = (data: JsonObject) => Promise<void>;

type State = "open" | "committing" | "rolling-back" | "ended";

/** Where a transaction keeps its record, and whom it tells that it has ended. */
export interface TransactionHost {
  readonly store: StateStore;
  readonly key: string;
  readonly undo: UndoTable;
  /** The process has no more to do with the operation; what is left of it on record is for `recover()`. */
  readonly release: () => void;
}

/** Made by `Journal.begin`. End it by `commit()` or `rollback()`. */
export class Transaction {
  readonly #host: TransactionHost;
  #record: OperationRecord;
  #state: State = "open";
  #writes: Promise<void> = Promise.resolve();
  #rollback: Promise<void> = Promise.resolve();
  readonly #running = new Set<Promise<unknown>>();

  /** @internal */
  constructor(host: TransactionHost, record: OperationRecord) {
    this.#host = host;
    this.#record = record;
  }

  get id(): string {
    return this.#record.id;
  }

  /** The operation as it stands on record. */
  get record(): OperationRecord {
    return this.#record;
  }

  /** Whether it can still take effects. */
  get open(): boolean {
    return this.#state === "open";
  }

  /**
   * Does something to the host that has to be undone when the operation fails. The record is durable before `run` starts.
   * When `run` fails its record stays, since it may have happened half-way; the undo runs at `rollback()`.
   * @throws InvalidArgumentError when the undo table has no such kind; ClosedError after the end; what the store or `run` throws.
   */
  async effect<T>(effect: EffectRecord, run: (amend: AmendEffect) => Promise<T>): Promise<T> {
    this.#mustBeOpen();
    if (!Object.hasOwn(this.#host.undo, effect.kind)) {
      throw new InvalidArgumentError({
        field: "effect.kind",
        value: effect.kind,
        expected: "an effect that the undo table knows",
      });
    }
    const slot: { current: EffectRecord } = {
      current: { kind: effect.kind, data: cloneJsonObject(effect.data, "effect.data") },
    };
    await this.#write((record) => ({ ...record, effects: [...record.effects, slot.current] }));
    this.#mustBeOpen();
    const running = run((data) => this.#amend(slot, data));
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Puts the name of the phase on record. */
  async phase(name: string): Promise<void> {
    this.#mustBeOpen();
    await this.#write((record) => ({ ...record, phase: name }));
  }

  /**
   * From here on the operation is completed and not undone, also by a new process; `params`, if given, replace those on record.
   */
  async passPointOfNoReturn(params?: JsonObject): Promise<void> {
    this.#mustBeOpen();
    const given = params === undefined ? {} : { params: cloneJsonObject(params, "params") };
    await this.#write((record) => ({ ...record, ...given, committed: true }));
  }

  /**
   * The operation is done: forgets its record. When that fails the operation is not done, and is to be rolled back.
   * @throws ConflictError while an effect is running; what the store throws.
   */
  async commit(): Promise<void> {
    this.#mustBeOpen();
    if (this.#running.size > 0)
      throw new ConflictError("the operation can't be committed while its effects are under way");
    this.#state = "committing";
    try {
      await this.#serialize(() => this.#host.store.delete(this.#host.key));
    } catch (error) {
      this.#state = "open";
      throw error;
    }
    this.#end();
  }

  /**
   * Undoes all effects, newest first, after those still running have settled. Never rejects: what fails is attached to
   * `cause` as an `UndoFailedError`, and the operation stays on record with what is left to undo. After the point of no
   * return nothing is undone; the record stays for `recover()` to complete. A second call joins the first; after the end
   * it does nothing.
   */
  rollback(cause: Error): Promise<void> {
    if (this.#state === "open") this.#rollback = this.#rollBack(cause);
    return this.#rollback;
  }

  async #rollBack(cause: Error): Promise<void> {
    this.#state = "rolling-back";
    await Promise.allSettled([...this.#running]);
    await this.#writes;
    const errors = this.#record.committed ? [] : await this.#undoAll();
    this.#end();
    if (errors.length > 0 && isHyperviseError(cause)) cause.attachUndoErrors(errors);
    else if (errors.length > 0) Object.defineProperty(cause, "undoErrors", { value: errors, configurable: true });
  }

  async #undoAll(): Promise<Error[]> {
    const { remaining, errors } = await undoEffects(this.#record, this.#host.undo);
    this.#record = { ...this.#record, effects: remaining };
    try {
      if (remaining.length === 0) await this.#host.store.delete(this.#host.key);
      else await this.#host.store.put(this.#host.key, encodeOperation(this.#record));
    } catch (error) {
      errors.push(new UndoFailedError("the record of the operation", { cause: asError(error) }));
    }
    return errors;
  }

  #amend(slot: { current: EffectRecord }, data: JsonObject): Promise<void> {
    const before = slot.current;
    const after: EffectRecord = { kind: before.kind, data: cloneJsonObject(data, "effect.data") };
    slot.current = after;
    return this.#write((record) => ({ ...record, effects: record.effects.map((e) => (e === before ? after : e)) }));
  }

  /** Writes in the order of the calls. The change stands only once it is durable. */
  #write(change: (record: OperationRecord) => OperationRecord): Promise<void> {
    return this.#serialize(async () => {
      const next = change(this.#record);
      await this.#host.store.put(this.#host.key, encodeOperation(next));
      this.#record = next;
    });
  }

  #serialize(write: () => Promise<void>): Promise<void> {
    const done = this.#writes.then(write);
    this.#writes = done.catch(() => undefined);
    return done;
  }

  #mustBeOpen(): void {
    if (this.#state !== "open") throw new ClosedError("the operation has ended", { detail: `operation ${this.id}` });
  }

  #end(): void {
    this.#state = "ended";
    this.#host.release();
  }
}

/** Undoes the effects of a record, newest first, all of them; what failed remains, in its order. */
export async function undoEffects(
  operation: OperationRecord,
  table: UndoTable,
): Promise<{ readonly remaining: readonly EffectRecord[]; readonly errors: Error[] }> {
  const remaining: EffectRecord[] = [];
  const errors: Error[] = [];
  for (const effect of [...operation.effects].reverse()) {
    const undo = Object.hasOwn(table, effect.kind) ? table[effect.kind] : undefined;
    try {
      if (undo === undefined)
        throw new InvalidArgumentError({ field: "effect.kind", value: effect.kind, expected: "a known effect" });
      await undo(effect.data, { operation });
    } catch (error) {
      remaining.unshift(effect);
      errors.push(new UndoFailedError(effect.kind, { cause: asError(error) }));
    }
  }
  return { remaining, errors };
}

/** One operation while it runs: how it is stopped, what undoes it, and when its caller gets an answer. */
import { abortErrorOf, Deadline, DeadlineExceededError, HyperviseError, onAbort } from "../core/index.js";
import type { JsonObject, OperationOptions, OperationProgress, TimerHandle, Transaction } from "../core/index.js";
import type { Operation, OperationRequest } from "./operation.js";
import { asHyperviseError } from "./unexpected-error.js";
import type { EffectData, EffectKind } from "./effects.js";
import { effectRecord } from "./effects.js";
import type { HostContext } from "./host-context.js";
import type { InstanceRef } from "./instance-spec.js";
import type { Stoppable } from "./lifecycle.js";

/**
 * Until the point of no return, the caller's signal, its deadline, the operation's own time limit and the driver's close all stop the operation, which is then
 * undone. After it they start a last time limit (`undoMs`) for finishing. The caller waits for undoing or finishing as long as that; if it takes longer, it goes
 * on without the caller, who gets the error, and the instance stays busy until it has ended.
 */
export class RunningOperation implements Operation, Stoppable {
  readonly host: HostContext;
  readonly kind: string;
  readonly instance: InstanceRef;
  /** The caller's deadline, if it gave one: covers waiting for the turn, too. */
  readonly deadline: Deadline | undefined;
  readonly #request: OperationRequest;
  readonly #onProgress: OperationOptions["onProgress"];
  readonly #stop = new AbortController();
  readonly #finish = new AbortController();
  readonly #forgetSignal: () => void;
  #limit: Deadline | undefined;
  #transaction: Promise<Transaction> | undefined;
  #committed = false;
  #giveUp = false;
  #overdue: TimerHandle | undefined;
  #onOverdue: (() => void) | undefined;
  #failure: HyperviseError | undefined;

  constructor(host: HostContext, request: OperationRequest, instance: InstanceRef, options: OperationOptions) {
    this.host = host;
    this.kind = request.kind;
    this.instance = instance;
    this.#request = request;
    this.#onProgress = options.onProgress;
    const { signal, deadline } = options;
    this.#forgetSignal = onAbort(signal, () => {
      if (signal !== undefined) this.#stop.abort(abortErrorOf(signal, this.kind));
    });
    if (deadline !== undefined)
      this.deadline = Deadline.after(deadline, { operation: this.kind, clock: host.clock, signal: this.#stop.signal });
  }

  get signal(): AbortSignal {
    return this.#committed ? this.#finish.signal : this.#stopping;
  }

  /** Whatever stops the operation before its point of no return. */
  get #stopping(): AbortSignal {
    return this.#limit?.signal ?? this.deadline?.signal ?? this.#stop.signal;
  }

  stop(reason: HyperviseError): void {
    this.#stop.abort(reason);
  }

  throwIfAborted(): void {
    if (this.signal.aborted) throw abortErrorOf(this.signal, this.kind);
  }

  async effect<K extends EffectKind, T>(kind: K, data: EffectData[K], run: () => Promise<T>): Promise<T> {
    this.throwIfAborted();
    const transaction = await this.#begin();
    this.throwIfAborted();
    return transaction.effect(effectRecord(kind, data), async () => {
      this.throwIfAborted();
      return run();
    });
  }

  progress(phase: string, extra: Omit<OperationProgress, "phase"> = {}): void {
    try {
      this.#onProgress?.({ phase, ...extra });
    } catch {
      // A caller's broken callback is not a reason to fail the caller's operation.
    }
  }

  async passPointOfNoReturn(params: JsonObject = {}, onFailure: "finish" | "give-up" = "finish"): Promise<void> {
    this.throwIfAborted();
    if (!Object.hasOwn(this.host.completions, this.kind)) {
      throw new HyperviseError(`nothing knows how to finish ${this.kind} in another process`, { code: "INTERNAL" });
    }
    const transaction = await this.#begin();
    this.throwIfAborted();
    this.#request.onPointOfNoReturn?.();
    await transaction.passPointOfNoReturn({ instance: { ...this.instance }, ...params });
    this.#giveUp = onFailure === "give-up";
    this.#committed = true;
  }

  /** Runs the body in its turn; undoes it when it fails. */
  async run<T>(body: () => Promise<T>): Promise<T> {
    const { clock } = this.host;
    const signal = this.deadline?.signal ?? this.#stop.signal;
    this.#limit = Deadline.after(this.#request.timeoutMs, { operation: this.kind, clock, signal });
    const forget = onAbort(this.#limit.signal, () => this.#hurry());
    try {
      this.throwIfAborted();
      const result = await body();
      if (!this.#committed) this.throwIfAborted();
      await (await this.#transaction)?.commit();
      return result;
    } catch (error) {
      this.#failure = this.#primaryError(error);
      this.#hurry();
      await this.#undo(this.#failure);
      throw this.#failure;
    } finally {
      forget();
      this.#limit.dispose();
    }
  }

  /** Settles as the work does, but rejects when undoing or finishing takes longer than `undoMs`. */
  answer<T>(work: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#onOverdue = () => reject(this.#overdueError());
      work.then(resolve, reject);
    });
  }

  dispose(): void {
    this.#forgetSignal();
    this.deadline?.dispose();
    this.#overdue?.cancel();
  }

  #begin(): Promise<Transaction> {
    this.#transaction ??= this.host.journal.begin({
      kind: this.kind,
      instanceUuid: this.instance.uuid,
      params: { instance: { ...this.instance } },
    });
    return this.#transaction;
  }

  /** From here on there is only `undoMs` left. */
  #hurry(): void {
    this.#overdue ??= this.host.clock.setTimeout(() => {
      this.#finish.abort(this.#overdueTime());
      this.#onOverdue?.();
    }, this.host.timeouts.undoMs);
  }

  /** An abort wins over what the abort made fail. */
  #primaryError(error: unknown): HyperviseError {
    const signal = this.signal;
    const primary = signal.aborted ? abortErrorOf(signal, this.kind) : asHyperviseError(error);
    return primary.withContext({ instance: this.instance });
  }

  async #undo(error: HyperviseError): Promise<void> {
    const transaction = await this.#transaction?.catch(() => undefined);
    if (transaction === undefined) return;
    if (this.#committed && this.#giveUp) {
      await transaction.commit().catch((cause: unknown) => error.attachUndoErrors([asHyperviseError(cause)]));
    }
    await transaction.rollback(error);
    if (error.undoErrors.length > 0 || (this.#committed && !this.#giveUp)) this.host.unsettled.add(this.instance.uuid);
  }

  #overdueTime(): DeadlineExceededError {
    const operation = `${this.#committed ? "finishing" : "undoing"} ${this.kind}`;
    return new DeadlineExceededError({ operation, timeoutMs: this.host.timeouts.undoMs, instance: this.instance });
  }

  #overdueError(): HyperviseError {
    const error = this.#failure ?? abortErrorOf(this.#stopping, this.kind).withContext({ instance: this.instance });
    error.attachUndoErrors([this.#overdueTime()]);
    return error;
  }
}

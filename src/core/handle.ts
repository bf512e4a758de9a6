/** Work under way that a caller can watch and, until its point of no return, abort. */
import { onAbort } from "./abort.js";
import { AbortedError, ConflictError } from "./common-errors.js";
import { systemClock } from "./clock.js";
import type { Clock } from "./clock.js";
import { asError } from "./error.js";
import { EventHub } from "./event-queue.js";
import type { EventSubscription } from "./event-queue.js";
import type { JsonObject } from "./json.js";
import type { OperationProgress } from "./options.js";

/** Where an operation stands in its life. */
export type OperationState = "running" | "completed" | "failed" | "aborted";

/** A change of an operation: of its phase, its progress, its state, or of whether it can be aborted. */
export interface ProgressEvent extends OperationProgress {
  readonly operationId: string;
  /** What is being done: `migrate`, `snapshot`, … */
  readonly kind: string;
  readonly state: OperationState;
  readonly abortable: boolean;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** What else the operation tells, such as a migration's dirty rate. */
  readonly details?: JsonObject;
  /** How many events before this one were lost, because they were not read in time. */
  readonly missed?: number;
}

/** What a caller holds of an operation. */
export interface OperationHandle<T> {
  readonly id: string;
  readonly kind: string;
  readonly state: OperationState;
  readonly phase: string;
  /** From 0 to 1, where it can be told: the `fraction` of its events. */
  readonly progress: number | undefined;
  readonly bytesDone: number | undefined;
  readonly bytesTotal: number | undefined;
  /** False once the point of no return is passed or the operation has ended. */
  readonly abortable: boolean;
  /** Settles when the operation has ended and, if it failed or was aborted, has been undone. Need not be awaited. */
  readonly result: Promise<T>;
  /**
   * Asks the operation to stop and undo; resolves when that is done (`result` then rejects with `AbortedError`, or with the
   * error that came first). Resolves at once when it has failed or was aborted before.
   * @throws ConflictError after the point of no return, or when the operation has completed.
   */
  abort(reason?: unknown): Promise<void>;
  /** The present state at once, then every change; ends with the operation. */
  events(options?: {
    readonly signal?: AbortSignal | undefined;
    readonly capacity?: number | undefined;
  }): EventSubscription<ProgressEvent>;
}

/** What {@link OperationController} needs. */
export interface OperationControllerOptions {
  readonly kind: string;
  /** Default: a random UUID. */
  readonly id?: string | undefined;
  readonly clock?: Clock | undefined;
  /** The first phase. Default: `starting`. */
  readonly phase?: string | undefined;
  /** The caller's signal: aborts the operation while it is abortable, and is ignored afterwards. */
  readonly signal?: AbortSignal | undefined;
  /** The caller's callback; what it throws is ignored. */
  readonly onProgress?: ((progress: OperationProgress) => void) | undefined;
}

/** What the operation says by {@link OperationController.update}; what it leaves out stays. */
export type ProgressUpdate = Partial<OperationProgress> & Pick<ProgressEvent, "details">;

/** The other side of an {@link OperationHandle}: the operation itself reports and ends through it. */
export class OperationController<T> {
  readonly handle: OperationHandle<T>;
  readonly #abort = new AbortController();
  readonly #clock: Clock;
  readonly #onProgress: ((progress: OperationProgress) => void) | undefined;
  readonly #hub: EventHub<ProgressEvent>;
  readonly #result: Promise<T>;
  #unwatch: () => void = () => undefined;
  #current: ProgressEvent;
  #resolve: (value: T) => void = () => undefined;
  #reject: (error: Error) => void = () => undefined;

  constructor(options: OperationControllerOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#onProgress = options.onProgress;
    this.#current = {
      operationId: options.id ?? globalThis.crypto.randomUUID(),
      kind: options.kind,
      state: "running",
      phase: options.phase ?? "starting",
      abortable: true,
      at: this.#clock.now(),
    };
    this.#hub = new EventHub<ProgressEvent>({ overflow: (missed) => ({ ...this.#current, missed }) });
    this.#result = new Promise<T>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#result.catch(() => undefined);
    this.handle = this.#makeHandle();
    const { signal } = options;
    this.#unwatch = onAbort(signal, () => this.#requestAbort(signal?.reason));
  }

  /** Runs `work` as an operation; it succeeds or fails with it. */
  static run<T>(
    options: OperationControllerOptions,
    work: (controller: OperationController<T>) => Promise<T>,
  ): OperationHandle<T> {
    const controller = new OperationController<T>(options);
    const start = async (): Promise<T> => {
      controller.throwIfAborted();
      return work(controller);
    };
    start().then(
      (value) => controller.succeed(value),
      (error: unknown) => controller.fail(asError(error)),
    );
    return controller.handle;
  }

  /** Aborts when the caller asks for it; the operation then undoes what it did and calls {@link OperationController.fail}. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get state(): OperationState {
    return this.#current.state;
  }

  /** Throws the `AbortedError` of a caller who has aborted. */
  throwIfAborted(): void {
    if (this.signal.aborted) throw this.signal.reason as Error;
  }

  /** Reports a phase or progress. Ignored after the end. A new phase drops progress, bytes and details unless they are given. */
  update(update: ProgressUpdate): void {
    const { phase } = update;
    const entered = phase !== undefined && phase !== this.#current.phase;
    const { operationId, kind, state, abortable, at } = this.#current;
    const bare = { operationId, kind, state, abortable, at, phase: phase ?? this.#current.phase };
    const { fraction } = update;
    const clamped =
      fraction === undefined ? {} : { fraction: Math.min(1, Math.max(0, Number.isNaN(fraction) ? 0 : fraction)) };
    this.#change({ ...(entered ? bare : this.#current), ...update, ...clamped });
  }

  /**
   * From here on the operation can't be aborted.
   * @throws AbortedError when the caller was faster; then the operation is to stop and undo.
   */
  passPointOfNoReturn(): void {
    this.throwIfAborted();
    this.#unwatch();
    this.#change({ ...this.#current, abortable: false });
  }

  /** The operation is done. */
  succeed(value: T): void {
    this.#finish("completed", () => this.#resolve(value));
  }

  /** The operation has failed, or stopped after an abort, and has been undone. */
  fail(error: Error): void {
    this.#finish(this.signal.aborted ? "aborted" : "failed", () => this.#reject(error));
  }

  #finish(state: OperationState, settle: () => void): void {
    if (this.#current.state !== "running") return;
    this.#unwatch();
    this.#change({ ...this.#current, state, abortable: false });
    this.#hub.close();
    settle();
  }

  #change(next: ProgressEvent): void {
    if (this.#current.state !== "running") return;
    this.#current = { ...next, at: this.#clock.now() };
    this.#hub.publish(this.#current);
    try {
      this.#onProgress?.(this.#current);
    } catch {
      // A caller's broken callback is not a reason to fail the caller's operation.
    }
  }

  #requestAbort(reason: unknown): void {
    if (!this.signal.aborted) this.#abort.abort(new AbortedError({ operation: this.#current.kind, cause: reason }));
  }

  async #abortByCaller(reason: unknown): Promise<void> {
    const { state, abortable, kind } = this.#current;
    if (state === "failed" || state === "aborted") return;
    if (!abortable) throw new ConflictError(`${kind} can't be aborted any more`);
    this.#requestAbort(reason);
    const completed = await this.#result.then(
      () => true,
      () => false,
    );
    if (completed) throw new ConflictError(`${kind} completed before it could be aborted`);
  }

  #makeHandle(): OperationHandle<T> {
    const current = (): ProgressEvent => this.#current;
    return Object.freeze({
      id: current().operationId,
      kind: current().kind,
      get state() {
        return current().state;
      },
      get phase() {
        return current().phase;
      },
      get progress() {
        return current().fraction;
      },
      get bytesDone() {
        return current().bytesDone;
      },
      get bytesTotal() {
        return current().bytesTotal;
      },
      get abortable() {
        return current().abortable;
      },
      result: this.#result,
      abort: (reason?: unknown) => this.#abortByCaller(reason),
      events: (options: { readonly signal?: AbortSignal | undefined; readonly capacity?: number | undefined } = {}) =>
        this.#hub.subscribe({ ...options, initial: [current()] }),
    });
  }
}

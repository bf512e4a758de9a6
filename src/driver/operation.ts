/** What an operation is made of: the request that starts it, and what its body works with. */
import type { JsonObject, OperationOptions, OperationProgress } from "../core/index.js";
import type { EffectData, EffectKind } from "./effects.js";
import type { HostContext } from "./host-context.js";
import type { InstanceRef } from "./instance-spec.js";

/** What an operation's body works with. */
export interface Operation {
  readonly host: HostContext;
  readonly kind: string;
  readonly instance: InstanceRef;
  /**
   * To be given to everything that waits. Aborts with the caller's signal, the deadline and `close`; after the point of no return only when
   * finishing takes too long.
   */
  readonly signal: AbortSignal;

  /**
   * Has an effect on the host. How to undo it is durable before `run` starts; it is undone when the operation fails, is aborted, or dies with the process.
   * `run` must end when `signal` aborts: undoing waits for it.
   */
  effect<K extends EffectKind, T>(kind: K, data: EffectData[K], run: () => Promise<T>): Promise<T>;

  /** Throws what the operation was aborted with, if it was. */
  throwIfAborted(): void;

  /** Tells the caller how far the operation is. */
  progress(phase: string, extra?: Omit<OperationProgress, "phase">): void;

  /**
   * From here on nothing is undone: the operation is finished, by a new process if need be (`committed.ts`). `params` is what finishing needs to know.
   * When the body fails afterwards, `finish` says whether the operation stays in the journal until it is finished (default), or is given up.
   */
  passPointOfNoReturn(params?: JsonObject, onFailure?: "finish" | "give-up"): Promise<void>;
}

export interface OperationRequest {
  /** The method's name. */
  readonly kind: string;
  readonly instance: Pick<InstanceRef, "uuid" | "name">;
  readonly options: OperationOptions | undefined;
  /** Longest time for the work itself; waiting for its turn is not counted. The caller's own deadline covers both. */
  readonly timeoutMs: number;
  /** What a trace shows of the arguments. */
  readonly params?: JsonObject;
  /** `own`: the body itself calls `settleLeftovers`. Default: before the body runs, and what can't be settled rejects the operation. */
  readonly leftovers?: "own";
  /** Called when the body passes its point of no return. */
  readonly onPointOfNoReturn?: () => void;
}

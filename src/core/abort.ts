/** Abort signals in terms of this package's errors. */
import { AbortedError } from "./common-errors.js";
import { isHyperviseError } from "./error.js";
import type { HyperviseError } from "./error.js";

/**
 * The error that an aborted signal stands for: its reason, when that is one of this package's errors (such as
 * `DeadlineExceededError`), otherwise an `AbortedError` with the reason as its cause.
 */
export function abortErrorOf(signal: AbortSignal, operation?: string): HyperviseError {
  const reason: unknown = signal.reason;
  return isHyperviseError(reason) ? reason : new AbortedError({ cause: reason, operation });
}

/** Throws {@link abortErrorOf} when the signal has been aborted. */
export function throwIfAborted(signal: AbortSignal | undefined, operation?: string): void {
  if (signal?.aborted === true) throw abortErrorOf(signal, operation);
}

interface Fan {
  readonly callbacks: Set<{ readonly call: () => void }>;
  readonly listener: () => void;
}

const fans = new WeakMap<AbortSignal, Fan>();

/**
 * Calls `callback` once when the signal aborts, at once if it has; the returned function takes that back. However many wait
 * on a signal, it carries one listener, and none when nobody waits: Node warns of a leak at eleven.
 */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (signal === undefined) return () => undefined;
  if (signal.aborted) {
    callback();
    return () => undefined;
  }
  const fan = fans.get(signal) ?? openFan(signal);
  const entry = { call: callback };
  fan.callbacks.add(entry);
  return () => {
    if (fan.callbacks.delete(entry) && fan.callbacks.size === 0) closeFan(signal, fan);
  };
}

/** Several signals as one. */
export interface JoinedSignal {
  /** Aborts when the first of them does, with its reason. */
  readonly signal: AbortSignal;
  /** Takes the listeners off; the signal will not abort any more. */
  readonly release: () => void;
}

/** Joins signals for the time of one piece of work. Unlike `AbortSignal.any`, which Node 20 may collect while somebody listens to it, it holds until it is released. */
export function joinSignals(signals: readonly (AbortSignal | undefined)[]): JoinedSignal {
  const controller = new AbortController();
  const releases = signals.map((signal) => onAbort(signal, () => controller.abort(signal?.reason)));
  return {
    signal: controller.signal,
    release: () => {
      for (const release of releases) release();
    },
  };
}

/**
 * Settles as the promise does, or rejects as soon as the signal aborts. What the promise stands for goes on; a later
 * rejection of it is swallowed. No listener stays on the signal.
 */
export function raceAbort<T>(promise: PromiseLike<T>, signal: AbortSignal | undefined, operation?: string): Promise<T> {
  if (signal === undefined) return Promise.resolve(promise);
  return new Promise<T>((resolve, reject) => {
    const forget = onAbort(signal, () => reject(abortErrorOf(signal, operation)));
    promise.then(forget, forget);
    promise.then(resolve, reject);
  });
}

function openFan(signal: AbortSignal): Fan {
  const fan: Fan = {
    callbacks: new Set(),
    listener: () => {
      fans.delete(signal);
      for (const entry of [...fan.callbacks]) if (fan.callbacks.delete(entry)) callGuarded(entry.call);
    },
  };
  fans.set(signal, fan);
  signal.addEventListener("abort", fan.listener, { once: true });
  return fan;
}

function closeFan(signal: AbortSignal, fan: Fan): void {
  if (fans.get(signal) === fan) fans.delete(signal);
  signal.removeEventListener("abort", fan.listener);
}

/** One callback that throws must not keep the others from hearing; its error surfaces as an event listener's would. */
function callGuarded(callback: () => void): void {
  try {
    callback();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** Doing a change again when others came first. */
import { randomInt } from "node:crypto";
import { BusyError, systemClock } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import { StoreConflictError, StoreUnavailableError } from "../store/store-errors.js";

export interface RetryOptions {
  /** Default 64. */
  readonly attempts?: number;
  readonly clock?: Clock;
  readonly signal?: AbortSignal | undefined;
  /** False: `change` must not run again when nobody knows whether it has happened. Default true: it reads afresh and sees. */
  readonly repeatUnknown?: boolean;
}

/** How often a change runs again because nobody knows whether it has happened. */
const UNKNOWN_ATTEMPTS = 3;

/**
 * Runs `change`, and anew after each `StoreConflictError`: it is to read afresh. So too when the store can't say what became of it. `onConflict` may throw what the conflict
 * means. @throws BusyError when others came first every time
 */
export async function retryOnConflict<T>(
  change: () => Promise<T>,
  onConflict: (conflict: StoreConflictError) => void = () => undefined,
  options: RetryOptions = {},
): Promise<T> {
  const { attempts = 64, clock = systemClock, signal, repeatUnknown = true } = options;
  let last: StoreConflictError | undefined;
  let unknown = repeatUnknown ? UNKNOWN_ATTEMPTS : 0;
  for (let attempt = 1; attempt <= attempts; attempt++) {
    try {
      return await change();
    } catch (error) {
      if (error instanceof StoreUnavailableError && error.outcomeUnknown && unknown-- > 0) continue;
      if (!(error instanceof StoreConflictError)) throw error;
      last = error;
      onConflict(error);
    }
    // Those that collide again and again come at different moments.
    if (attempt > 3) await clock.sleep(randomInt(1, Math.min(2 ** (attempt - 1), 64)), { signal });
  }
  throw new BusyError("others changed the networks each time", { cause: last });
}

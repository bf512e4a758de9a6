/** Makes a lost connection again: at once, then with growing pauses, until it works, can't work, or time is over. */
import { Deadline, asError } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import { LibvirtAuthenticationError, LibvirtConnectError, LibvirtProtocolError } from "./errors.js";
import { DEFAULT_RECONNECT } from "./connection-options.js";
import type { ReconnectOptions } from "./connection-options.js";

export interface ReconnectAttempts {
  readonly clock: Clock;
  /** Ends the attempts. */
  readonly signal: AbortSignal;
  readonly attempt: (signal: AbortSignal) => Promise<void>;
  readonly onFailure: (failure: { readonly attempt: number; readonly delayMs: number; readonly error: Error }) => void;
}

/**
 * @returns how many attempts it took
 * @throws the last attempt's error when it can't be mended by waiting or time is over; the signal's error
 */
export async function reconnect(
  options: ReconnectOptions,
  { clock, signal, attempt, onFailure }: ReconnectAttempts,
): Promise<number> {
  const minDelayMs = options.minDelayMs ?? DEFAULT_RECONNECT.minDelayMs;
  const maxDelayMs = options.maxDelayMs ?? DEFAULT_RECONNECT.maxDelayMs;
  const giveUpAfterMs = options.giveUpAfterMs ?? DEFAULT_RECONNECT.giveUpAfterMs;
  const deadline = Deadline.after(giveUpAfterMs, { operation: "connecting to libvirt again", clock, signal });
  let pauseMs = minDelayMs;
  try {
    for (let number = 1; ; number++) {
      try {
        await attempt(deadline.signal);
        return number;
      } catch (thrown) {
        const error = asError(thrown);
        if (deadline.expired || isFinal(error)) throw error;
        // Many clients of a daemon that comes back should not come all at once.
        const delayMs = Math.round(pauseMs * (0.75 + Math.random() / 2));
        onFailure({ attempt: number, delayMs, error });
        await clock.sleep(delayMs, { signal: deadline.signal }).catch(() => {
          throw error;
        });
        pauseMs = Math.min(pauseMs * 2, maxDelayMs);
      }
    }
  } finally {
    deadline.dispose();
  }
}

function isFinal(error: Error): boolean {
  if (error instanceof LibvirtConnectError) return !error.retryable && error.cause === undefined;
  return error instanceof LibvirtAuthenticationError || error instanceof LibvirtProtocolError;
}

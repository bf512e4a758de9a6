/** Asking a guest to shut down, and waiting for it. */
import { abortErrorOf, Deadline, onAbort } from "../core/index.js";
import type { Guest } from "./guest.js";
import type { HostContext } from "./host-context.js";
import { isInMemory, powerStateOf } from "./guest-actions.js";

export interface ShutdownRequest {
  /** Longest wait. */
  readonly graceMs: number;
  /** The request is sent again this often. */
  readonly resendMs: number;
  readonly signal: AbortSignal;
}

/**
 * Asks the guest, again and again, and resolves to true as soon as it is out of memory, to false when the grace is over or it can't be asked.
 * Rejects on abort; the guest may then still shut down.
 */
export async function askToShutDown(
  host: HostContext,
  guest: Guest,
  { graceMs, resendMs, signal }: ShutdownRequest,
): Promise<boolean> {
  const over = new AbortController();
  const forget = onAbort(signal, () => over.abort(abortErrorOf(signal)));
  const grace = Deadline.after(graceMs, {
    operation: "waiting for the guest to shut down",
    clock: host.clock,
    signal: over.signal,
  });
  const intent = host.intents.announce(guest.uuid, "stopped");
  let stopped = false;
  try {
    const end = guest.waitUntilStopped({ signal: grace.signal });
    await Promise.race([end, keepAsking(host, guest, resendMs, grace.signal)]);
    stopped = true;
  } catch (error) {
    if (signal.aborted) throw error;
    stopped = !isInMemory(await powerStateOf(guest, signal));
  } finally {
    if (!stopped) intent.drop();
    forget();
    over.abort();
    grace.dispose();
  }
  return stopped;
}

/** Rejects when the guest can't be asked, or the signal aborts. */
async function keepAsking(host: HostContext, guest: Guest, resendMs: number, signal: AbortSignal): Promise<never> {
  for (;;) {
    await guest.requestShutdown({ signal });
    await host.clock.sleep(resendMs, { signal });
  }
}

/** Asking a guest again to let go of a device. */
import { QmpCommandError } from "../../qmp/index.js";
import { asError, traceMessage } from "../../core/index.js";
import type { TimerHandle } from "../../core/index.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";

/**
 * Sends `device_del` every `detachResendMs`: a guest whose operating system was not up yet has not heard the first, and hears nothing of it later.
 * @returns ends the asking
 */
export function keepAsking(core: GuestCore, session: GuestSession, handle: string): () => void {
  const { clock, timeouts } = core.host;
  const stop = new AbortController();
  let timer: TimerHandle | undefined;
  const later = (): void => {
    if (!stop.signal.aborted) timer = clock.setTimeout(ask, timeouts.detachResendMs);
  };
  const ask = (): void => {
    if (core.session !== session) return;
    session
      .execute("device_del", { id: handle }, { signal: stop.signal, deadlineMs: timeouts.commandMs })
      .catch((error: unknown) => {
        // QEMU refuses it for as long as it takes the request for a fresh one; of a device that is gone an event tells.
        if (error instanceof QmpCommandError || stop.signal.aborted) return;
        const { instance } = core;
        traceMessage("hypervise:kvm:background-failure", () => ({ instance, error: asError(error).message }));
      })
      .finally(later);
  };
  later();
  return () => {
    stop.abort();
    timer?.cancel();
  };
}

/** Taking a guest out of memory, and waiting until it is. */
import { ClosedError, Deadline, abortErrorOf, isHyperviseError, onAbort, throwIfAborted } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { GuestStuckError } from "../../driver/index.js";
import { revokeGuest } from "../access/grant-access.js";
import type { GuestCore } from "../guest-core.js";
import { endGuestHelpers } from "../helpers/guest-helpers.js";
import { removeSockets } from "../process.js";
import type { GuestSession } from "../session.js";
import { endedState } from "../state/state-changes.js";

/** Asks the guest's operating system to power off. What it does about it is its own affair. @throws InvalidStateError */
export async function requestShutdown(core: GuestCore, { signal, deadline }: CommonOptions): Promise<void> {
  const session = core.requireSession("requestShutdown");
  await session.requesting("powerdown", () =>
    session.execute("system_powerdown", {}, { signal, deadlineMs: deadline }),
  );
}

/**
 * Ends a guest at once: QEMU closes its disks in order if it answers, and is killed if not. Success when the guest is not in memory.
 * @throws GuestStuckError when the process does not end; AbortedError, after which it may still end
 */
export async function killGuest(core: GuestCore, { signal, deadline }: CommonOptions): Promise<void> {
  const { session } = core;
  if (session === undefined) return core.ending;
  if (core.away) return endRemains(core);
  throwIfAborted(signal, "killing the guest");
  const { killMs } = core.host.timeouts;
  const asked = session.answers && (await askToQuit(core, session, signal));
  if (!asked) {
    session.note("kill", true);
    await session.process.kill(killMs);
  }
  await waitUntilStopped(core, { signal, deadline: deadline ?? killMs }).catch((error: unknown) => {
    if (deadline !== undefined || !isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
    throw new GuestStuckError("QEMU does not end although it was killed", { instance: core.instance, cause: error });
  });
}

/** Ends a QEMU that the guest is not in any more, without telling. @throws GuestStuckError */
export async function endRemains(core: GuestCore): Promise<void> {
  const { session } = core;
  if (session === undefined || !core.away) return;
  await core.release();
  await session.process.kill(core.host.timeouts.killMs);
  await core.update((state) => endedState(state, { state: "shutdown", at: core.host.clock.now() }));
  await endGuestHelpers(core);
  await revokeGuest(core);
  await removeSockets(core.files);
}

/** True when QEMU has ended because it was asked to. */
async function askToQuit(core: GuestCore, session: GuestSession, signal: AbortSignal | undefined): Promise<boolean> {
  const { quitMs } = core.host.timeouts;
  session.note("quit", true);
  try {
    // QEMU may end without an answer.
    await session.execute("quit", {}, { signal, deadlineMs: quitMs }).catch((error: unknown) => {
      if (!isHyperviseError(error, "GUEST_CRASHED")) throw error;
    });
    await session.process.waitEnded(quitMs, signal);
    return true;
  } catch {
    throwIfAborted(signal, "killing the guest");
    return false;
  }
}

/** Resolves when the guest is not in memory; at once if so. @throws AbortedError, DeadlineExceededError; ClosedError when the driver is closed */
export async function waitUntilStopped(core: GuestCore, { signal, deadline }: CommonOptions): Promise<void> {
  if (!core.inMemory) return core.ending;
  const limit =
    deadline === undefined
      ? undefined
      : Deadline.after(deadline, { operation: "waiting for the guest to stop", clock: core.host.clock, signal });
  try {
    await stopped(core, limit?.signal ?? signal);
  } finally {
    limit?.dispose();
  }
}

function stopped(core: GuestCore, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const forgetStop = core.onStopped(() => {
      forgetAbort();
      if (core.released)
        reject(new ClosedError("the driver was closed while it waited for a guest", { instance: core.instance }));
      else resolve();
    });
    const forgetAbort = onAbort(signal, () => {
      forgetStop();
      reject(abortErrorOf(signal as AbortSignal, "waiting for the guest to stop"));
    });
  });
}

/** Waiting until a guest has let go of something. */
import { DeadlineExceededError, withDeadline } from "../../core/index.js";
import type { DetachOptions } from "../../driver/index.js";
import type { GuestCore, UnplugOutcome } from "../guest-core.js";

/** `pending` when the guest has not answered in time: it may still let go. @throws AbortedError */
export async function waitUnplugged(
  core: GuestCore,
  gone: Promise<UnplugOutcome>,
  { timeoutMs, signal }: Pick<DetachOptions, "timeoutMs" | "signal">,
): Promise<UnplugOutcome | "pending"> {
  try {
    return await withDeadline(
      timeoutMs,
      { operation: "waiting for the guest to let go", clock: core.host.clock, signal },
      () => gone,
    );
  } catch (error) {
    if (error instanceof DeadlineExceededError && signal?.aborted !== true) return "pending";
    throw error;
  }
}

/** The helpers of one guest. */
import type { GuestCore } from "../guest-core.js";
import { needsHelpers } from "../plan/helper-plan.js";
import { endHelpers } from "./find-helpers.js";

/** Ends what a guest that is not in memory any more may have left; success when there is nothing. @throws GuestStuckError, HostIoError */
export async function endGuestHelpers(core: GuestCore): Promise<void> {
  if (!needsHelpers(core.definition)) return;
  const { clock, timeouts } = core.host;
  const { directory } = core.files;
  await endHelpers((candidate) => candidate === directory, { clock, quitMs: timeouts.quitMs, killMs: timeouts.killMs });
}

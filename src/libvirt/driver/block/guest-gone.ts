/** What work on a guest's disks ends with when the guest does. */
import { GuestCrashedError, InvalidStateError } from "../../../driver/index.js";
import type { GuestCore } from "../guest-core.js";

/** @throws GuestCrashedError, InvalidStateError when the guest is not in memory any more */
export function requireStillThere(core: GuestCore, operation: string): void {
  if (core.inMemory) return;
  const { instance, powerState } = core;
  if (powerState === "crashed")
    throw new GuestCrashedError(`the guest ended in the middle of ${operation}`, { instance });
  throw new InvalidStateError({ operation, state: powerState, expected: ["running", "paused"], instance });
}

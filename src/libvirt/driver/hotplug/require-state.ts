/** States in which a guest's devices can't be changed. */
import { InvalidStateError } from "../../../driver/index.js";
import type { GuestCore } from "../guest-core.js";

/** Memory on disk is that of the guest as it was saved. @throws InvalidStateError */
export function requireNotSaved({ powerState, instance }: GuestCore, operation: string): void {
  if (powerState !== "suspended") return;
  throw new InvalidStateError({
    operation,
    state: powerState,
    expected: ["running", "paused", "shutdown", "crashed"],
    instance,
  });
}

/** Calls that libvirt takes for guests in memory only. */
import { InvalidStateError } from "../../driver/index.js";
import { isLibvirtError } from "../rpc/index.js";
import { asDriverErrors } from "./errors.js";
import type { GuestCore } from "./guest-core.js";

/** Runs a call for a guest in memory. @throws InvalidStateError also when the guest has left it meanwhile, and what `asDriverErrors` makes of the rest */
export async function inMemoryCall<T>(core: GuestCore, operation: string, run: () => Promise<T>): Promise<T> {
  core.requireInMemory(operation);
  const { instance } = core;
  return asDriverErrors({ operation, instance }, async () => {
    try {
      return await run();
    } catch (error) {
      if (!isLibvirtError(error, "invalidState")) throw error;
      const { powerState: state } = core;
      throw new InvalidStateError({ operation, state, expected: ["running", "paused"], instance, cause: error });
    }
  });
}

/** Work that goes on although the daemon is away for a while: the guest's QEMU goes on, too. */
import type { GuestCore } from "../guest-core.js";
import { LibvirtConnectError, LibvirtDisconnectedError } from "../../rpc/index.js";

export function isUnreachable(error: unknown): boolean {
  return error instanceof LibvirtDisconnectedError || error instanceof LibvirtConnectError;
}

/** What a look gives; undefined while the daemon is away, after which there is a gap to look again at. */
export async function unlessAway<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch (error) {
    if (!isUnreachable(error)) throw error;
    return undefined;
  }
}

/** Does what may be repeated; when the daemon goes away in the middle, once more when it is back. @throws DeadlineExceededError when it does not come back in time */
export async function whenReachable(core: GuestCore, operation: string, run: () => Promise<void>): Promise<void> {
  await core.until(
    async (signal) => {
      if (signal !== undefined && signal.type !== "gap") return undefined;
      return unlessAway(async () => {
        await run();
        return true;
      });
    },
    { operation, deadlineMs: 4 * core.host.timeouts.cancelMs },
  );
}

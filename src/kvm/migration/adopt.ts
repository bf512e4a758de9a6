/** Guests that an earlier process, or this one while it was deaf, has left between memory and a file, or between two hosts. */
import { endRemains } from "../lifecycle/stop.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";
import { abandonSaving } from "../suspend/save-memory.js";
import { settleOutgoing } from "./conclude.js";
import { isMoving } from "./moving.js";
import { takeAgain, watchForPostcopy } from "./take-over.js";

/** Brings to an end what can be ended. True when nothing else is to be read of the guest: it is not one of this host's to run now. */
export async function settleMoves(core: GuestCore, session: GuestSession): Promise<boolean> {
  if (isMoving(core)) return true;
  const { saved, migration } = core.state;
  if (saved?.phase === "saved") {
    await endRemains(core);
    return true;
  }
  if (saved !== undefined) await abandonSaving(core, session, saved);
  if (migration?.role === "source") return (await settleOutgoing(core)) === "completed";
  if (migration?.phase === "waiting") {
    session.setMoving(true);
    watchForPostcopy(core);
    return true;
  }
  if (migration?.phase === "taken") await takeAgain(core, session);
  return false;
}

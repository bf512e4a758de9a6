/** What a guest's disks need when its QEMU is taken up, by a start or by a driver that comes later. */
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";
import { forgetLostCheckpoints } from "./checkpoint-bitmaps.js";
import { applyAllDiskLimits } from "./limits.js";
import { settleWork } from "./work.js";

/** Before the vCPUs of a guest run that is being started. `arriving`: its disks are still another QEMU's, and show no checkpoints. */
export async function prepareDisks(core: GuestCore, session: GuestSession, arriving = false): Promise<void> {
  await applyAllDiskLimits(core, session);
  if (!arriving) await forgetLostCheckpoints(core, session);
}

/** Undoes or finishes work that an earlier process has left. Without effect on work that is under way. */
export async function reconcileDisks(core: GuestCore): Promise<void> {
  const { session } = core;
  if (session === undefined || core.working) return;
  core.working = true;
  try {
    await settleWork(core, session);
  } finally {
    core.working = false;
  }
  await applyAllDiskLimits(core, session);
}

/** Guests that a call of this process is migrating now: nobody else may settle what is under way. */
import { BusyError } from "../../../core/index.js";
import type { GuestCore } from "../guest-core.js";

const moving = new WeakSet<GuestCore>();

/** Guests that run on their destinations while a part of their memory may still be here. */
export const followed = new WeakSet<GuestCore>();

/** Whether a call of this process is at it. */
export function isMoving(core: GuestCore): boolean {
  return moving.has(core);
}

/** Runs work that moves a guest; one at a time. @throws BusyError */
export async function whileMoving<T>(core: GuestCore, work: () => Promise<T>): Promise<T> {
  if (moving.has(core)) throw new BusyError("the guest is being migrated", { instance: core.instance });
  moving.add(core);
  try {
    return await work();
  } finally {
    moving.delete(core);
  }
}

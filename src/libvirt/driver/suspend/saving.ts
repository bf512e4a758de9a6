/** Writing a guest's memory to libvirt's own file for it, ending that before its time, and what becomes of one whose driver or daemon has died. */
import { Deadline } from "../../../core/index.js";
import { DomainJobOperation, DomainJobType, isLibvirtError } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import { observe } from "../lifecycle/reconcile.js";
import type { GuestState } from "../state/guest-state.js";

/** @throws what ends the deadline, when nothing of the saving is still to come; LibvirtError. A saving that can't be ended any more has succeeded. */
export async function writeMemory(core: GuestCore, deadline: Deadline): Promise<void> {
  const { domain, host } = core;
  const { memoryMs, cancelMs } = host.timeouts;
  // However the guest stood, it runs when it is brought back.
  const saving = domain.managedSave({ flags: ["running"], deadlineMs: memoryMs + cancelMs, dedicated: true });
  try {
    await deadline.race(saving);
  } catch (error) {
    if (!deadline.expired) throw error;
    await endSaving(core, saving);
    // A saving that was faster stands.
    if (!(await succeeded(saving))) throw error;
  }
}

/**
 * Ends a saving that nobody waits for any more: a guest that is in memory runs on as before, and nothing is kept of it. Repeatable; without effect where none was begun.
 * @throws LibvirtError, DeadlineExceededError; then the record of it stays
 */
export async function settleSaving(core: GuestCore): Promise<void> {
  const { saving } = core.state;
  if (saving === undefined) return;
  const { domain, host } = core;
  const limits = { deadlineMs: host.timeouts.callMs };
  await endJob(core);
  await observe(core);
  if (core.inMemory) {
    // A daemon that has died leaves the part that was written, and takes it for the whole later on.
    if (await domain.hasManagedSaveImage(limits)) await domain.managedSaveRemove(limits);
    if (saving.wasRunning && core.powerState === "paused") {
      await domain.resume(limits);
      await observe(core);
    }
  }
  core.see({ moving: false });
  await core.update(withoutSaving);
}

export function withoutSaving(state: GuestState): GuestState {
  const { saving: _, ...rest } = state;
  return rest;
}

async function endSaving(core: GuestCore, saving: Promise<void>): Promise<void> {
  let over = false;
  const end = (): void => {
    over = true;
  };
  const ended = saving.then(end, end);
  await untilEnded(core, async (limit) => {
    if (over) return true;
    // Refused before the saving has begun, and after its end.
    await abortJob(core);
    const pause = new AbortController();
    const sleep = core.host.clock.sleep(core.host.timeouts.progressMs, { signal: pause.signal }).catch(() => undefined);
    await limit.race(Promise.race([ended, sleep]));
    pause.abort();
    return over;
  });
}

/** Ends the saving that an earlier process has begun. */
async function endJob(core: GuestCore): Promise<void> {
  const { clock, timeouts } = core.host;
  await untilEnded(core, async (limit) => {
    if (!(await isSaving(core))) return true;
    await abortJob(core);
    await clock.sleep(timeouts.progressMs, { signal: limit.signal });
    return false;
  });
}

/** libvirt has no event for the end of a saving that has failed. @throws DeadlineExceededError */
async function untilEnded(core: GuestCore, look: (limit: Deadline) => Promise<boolean>): Promise<void> {
  const { clock, timeouts } = core.host;
  const limit = Deadline.after(timeouts.cancelMs, { operation: "ending the saving of the guest's memory", clock });
  try {
    while (!(await look(limit))) limit.throwIfExpired();
  } finally {
    limit.dispose();
  }
}

async function isSaving({ domain, host }: GuestCore): Promise<boolean> {
  try {
    const { type, params } = await domain.getJobStats({ deadlineMs: host.timeouts.callMs });
    return type !== DomainJobType.none && params["operation"] === DomainJobOperation.save;
  } catch (error) {
    // Of a domain that is not in memory.
    if (isLibvirtError(error, "invalidState")) return false;
    throw error;
  }
}

async function abortJob({ domain, host }: GuestCore): Promise<void> {
  await domain.abortJob({ deadlineMs: host.timeouts.callMs }).catch((error: unknown) => {
    if (!isLibvirtError(error)) throw error;
  });
}

function succeeded(saving: Promise<void>): Promise<boolean> {
  return saving.then(
    () => true,
    () => false,
  );
}

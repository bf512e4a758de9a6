/** Stopping, resuming and resetting the vCPUs of a guest in memory. */
import type { CommonOptions } from "../../core/index.js";
import { InvalidStateError } from "../../driver/index.js";
import { QmpCommandError } from "../../qmp/index.js";
import { requireHere } from "../migration/guard.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";
import { withSavedMemory } from "../state/state-changes.js";

/** Stops the vCPUs; success when they are stopped. */
export async function pauseGuest(core: GuestCore, options: CommonOptions): Promise<void> {
  requireHere(core, "pause");
  const session = core.requireSession("pause");
  const limits = { signal: options.signal, deadlineMs: options.deadline };
  try {
    await session.requesting("stop", () => session.execute("stop", {}, limits));
    await session.until((view) => view.state !== "running", "pausing the guest", limits);
  } finally {
    // Without an event where it was stopped already.
    session.note("stop", false);
  }
}

/** Lets the vCPUs run; success when they do. A guest that sleeps is woken. */
export async function resumeGuest(core: GuestCore, options: CommonOptions): Promise<void> {
  requireHere(core, "resume");
  const session = core.requireSession("resume");
  const limits = { signal: options.signal, deadlineMs: options.deadline };
  const { status } = await session.execute("query-status", {}, limits);
  if (status === "running") return;
  // Whoever sent it elsewhere was not this driver, and a copy of the guest may run there.
  if (status === "postmigrate" && (await hasLeft(core, session)))
    throw new InvalidStateError({
      operation: "resume",
      state: "migratedAway",
      expected: ["paused"],
      instance: core.instance,
    });
  if (status === "suspended") await session.requesting("wakeup", () => session.execute("system_wakeup", {}, limits));
  else await cont(core, session, limits);
  await session.until((view) => view.state === "running", "resuming the guest", limits);
  if (core.state.saved !== undefined) await core.update((state) => withSavedMemory(state, undefined));
}

/** QEMU says the same of a guest that has gone to another host, of one that could not, and of one whose memory was written to a file. */
async function hasLeft(core: GuestCore, session: GuestSession): Promise<boolean> {
  if (core.state.saved?.phase === "copied") return false;
  return (await session.execute("query-migrate")).status === "completed";
}

/** As the reset button. A guest that has broken runs again afterwards. */
export async function resetGuest(core: GuestCore, options: CommonOptions): Promise<void> {
  requireHere(core, "reset");
  const session = core.requireSession("reset");
  const limits = { signal: options.signal, deadlineMs: options.deadline };
  const broken = session.view.state === "crashed";
  await session.requesting("reset", () => session.execute("system_reset", {}, limits));
  if (broken) await cont(core, session, limits);
}

async function cont(
  core: GuestCore,
  session: GuestSession,
  limits: { readonly signal?: AbortSignal | undefined; readonly deadlineMs?: number | undefined },
): Promise<void> {
  try {
    await session.requesting("cont", () => session.execute("cont", {}, limits));
  } catch (error) {
    if (!(error instanceof QmpCommandError) || session.view.state !== "crashed") throw error;
    throw new InvalidStateError({
      operation: "resume",
      state: "crashed",
      expected: ["paused"],
      instance: core.instance,
      cause: error,
    });
  }
}

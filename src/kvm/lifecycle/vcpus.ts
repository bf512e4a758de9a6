/** Stopping, resuming and resetting the vCPUs of a guest in memory. */
import type { CommonOptions } from "../../core/index.js";
import { InvalidStateError } from "../../driver/index.js";
import { QmpCommandError } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";

/** Stops the vCPUs; success when they are stopped. */
export async function pauseGuest(core: GuestCore, options: CommonOptions): Promise<void> {
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
  const session = core.requireSession("resume");
  const limits = { signal: options.signal, deadlineMs: options.deadline };
  const { status } = await session.execute("query-status", {}, limits);
  if (status === "running") return;
  if (status === "suspended") await session.requesting("wakeup", () => session.execute("system_wakeup", {}, limits));
  else await cont(core, session, limits);
  await session.until((view) => view.state === "running", "resuming the guest", limits);
}

/** As the reset button. A guest that has broken runs again afterwards. */
export async function resetGuest(core: GuestCore, options: CommonOptions): Promise<void> {
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

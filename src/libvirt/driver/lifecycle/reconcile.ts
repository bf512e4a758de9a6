/** Reads anew what the events of a guest would have told, after a time in which there was nobody to hear them. */
import type { EventCause, LifecycleTransition, PowerState } from "../../../driver/index.js";
import { isLibvirtError } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import { runsQemu } from "../host.js";
import { isInMemory, powerStateOf } from "../power.js";

/** Asks libvirt for the power state of a guest. @throws LibvirtError, `domainNotFound` where there is no domain */
export async function readPowerState({ domain, host }: GuestCore, signal?: AbortSignal): Promise<PowerState> {
  const limits = { deadlineMs: host.timeouts.queryMs, signal };
  const told = await domain.getState(limits);
  const state = powerStateOf(told);
  if (isInMemory(state, { domainState: told.state }) || !runsQemu(host)) return state;
  return powerStateOf(told, await domain.hasManagedSaveImage(limits));
}

/** Takes the guest's state as it is; nothing of it is news. */
export async function observe(core: GuestCore): Promise<void> {
  core.see({ state: await readPowerState(core) });
}

/** Tells what has changed without an event, and has everybody look again who waits. A guest without a domain is shut down. */
export async function reconcile(core: GuestCore): Promise<void> {
  const before = core.powerState;
  const state = await readPowerState(core).catch((error: unknown): PowerState => {
    if (isLibvirtError(error, "domainNotFound")) return "shutdown";
    throw error;
  });
  const report = changeBetween(before, state);
  const { starting, moving } = core.view;
  const told = report === undefined || starting || moving ? {} : { report };
  core.step({ view: { ...core.view, state }, ...told });
  core.notify({ type: "gap" });
}

/** What the step from one state to another is called. */
export function changeBetween(
  before: PowerState,
  now: PowerState,
): { readonly transition: LifecycleTransition; readonly cause: EventCause } | undefined {
  if (before === now || now === "nostate") return undefined;
  if (now === "crashed") return { transition: "crashed", cause: "crash" };
  if (now === "suspended") return { transition: "suspended", cause: "external" };
  if (now === "shutdown")
    return before === "suspended" || before === "crashed" ? undefined : { transition: "stopped", cause: "external" };
  if (now === "paused" && isInMemory(before)) return { transition: "paused", cause: "external" };
  if (now === "running" && before === "paused") return { transition: "resumed", cause: "external" };
  return { transition: before === "suspended" ? "resumed" : "started", cause: "external" };
}

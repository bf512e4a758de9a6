/** What operations do to a guest's power state: announced, so that the events say who did it, and bounded in time. */
import { abortErrorOf, Deadline, isHyperviseError } from "../core/index.js";
import type { Guest } from "./guest.js";
import { GuestStuckError, InstanceNotFoundError, InvalidStateError } from "./errors.js";
import type { HostContext } from "./host-context.js";
import type { LifecycleTransition } from "./events.js";
import type { PowerState } from "./power-state.js";

/** True while the guest's memory is on the host; what can't be told counts as true. */
export function isInMemory(state: PowerState): boolean {
  return state === "running" || state === "paused" || state === "nostate";
}

/** The guest of an instance. @throws InstanceNotFoundError */
export async function requireGuest(host: HostContext, uuid: string, signal?: AbortSignal): Promise<Guest> {
  const guest = await host.hypervisor.find(uuid, signalOption(signal));
  if (guest === undefined) throw new InstanceNotFoundError(uuid);
  return guest;
}

/** The guest of an instance, which must be in memory. @throws InstanceNotFoundError, InvalidStateError */
export async function requireInMemory(
  host: HostContext,
  uuid: string,
  operation: string,
  signal?: AbortSignal,
): Promise<Guest> {
  const guest = await requireGuest(host, uuid, signal);
  await requireState(guest, operation, ["running", "paused"], signal);
  return guest;
}

/** The guest's state, which must be one of these. @throws InvalidStateError */
export async function requireState<S extends PowerState>(
  guest: Guest,
  operation: string,
  expected: readonly S[],
  signal?: AbortSignal,
): Promise<S> {
  const state = await powerStateOf(guest, signal);
  const found = expected.find((candidate) => candidate === state);
  if (found !== undefined) return found;
  const { uuid, name } = guest;
  throw new InvalidStateError({ operation, state, expected, instance: { uuid, name } });
}

export async function powerStateOf(guest: Guest, signal?: AbortSignal): Promise<PowerState> {
  return (await guest.info(signalOption(signal))).state;
}

/** Starts a guest, paused if asked. @throws as `Guest.start`; DeadlineExceededError after `startMs`. */
export function startGuest(
  host: HostContext,
  guest: Guest,
  signal?: AbortSignal,
  options: { readonly paused?: boolean } = {},
): Promise<void> {
  return announced(host, guest, "started", () =>
    limited(host, host.timeouts.startMs, "starting the guest", signal, (limit) =>
      guest.start({ ...options, signal: limit }),
    ),
  );
}

/** Takes a guest out of memory; success when it is not in it. @throws GuestStuckError when nothing ends it within `killMs`. */
export async function killGuest(host: HostContext, guest: Guest, signal?: AbortSignal): Promise<void> {
  if (!isInMemory(await powerStateOf(guest, signal))) return guest.kill(signalOption(signal));
  await announced(host, guest, "stopped", async () => {
    try {
      await limited(host, host.timeouts.killMs, "ending the guest", signal, (limit) => guest.kill({ signal: limit }));
    } catch (error) {
      if (!isHyperviseError(error, "DEADLINE_EXCEEDED") || signal?.aborted === true) throw error;
      throw new GuestStuckError("the guest does not end although it was killed", { cause: error });
    }
  });
}

export function pauseGuest(host: HostContext, guest: Guest, signal?: AbortSignal): Promise<void> {
  return announced(host, guest, "paused", () => guest.pause(signalOption(signal)));
}

export function resumeGuest(host: HostContext, guest: Guest, signal?: AbortSignal): Promise<void> {
  return announced(host, guest, "resumed", () => guest.resume(signalOption(signal)));
}

/** Runs what causes a state change. When it fails, no event of it is expected any more. */
export async function announced<T>(
  host: HostContext,
  guest: { readonly uuid: string },
  transition: LifecycleTransition,
  act: () => Promise<T>,
): Promise<T> {
  const intent = host.intents.announce(guest.uuid, transition);
  try {
    return await act();
  } catch (error) {
    intent.drop();
    throw error;
  }
}

/**
 * Runs work under a time limit of its own, within that of the operation. Waits until the work has ended, so that nothing of it
 * comes after an undo: the work must stop when the signal it is given aborts.
 */
export async function limited<T>(
  host: HostContext,
  limitMs: number,
  what: string,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = Deadline.after(limitMs, { operation: what, clock: host.clock, signal });
  try {
    deadline.throwIfExpired();
    return await work(deadline.signal);
  } catch (error) {
    if (deadline.expired) throw abortErrorOf(deadline.signal, what);
    throw error;
  } finally {
    deadline.dispose();
  }
}

/** For calls that take `CommonOptions`. */
export function signalOption(signal: AbortSignal | undefined): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

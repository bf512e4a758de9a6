/** Taking a guest out of memory, and waiting until it is. */
import { Deadline, isHyperviseError, throwIfAborted } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { GuestStuckError } from "../../../driver/index.js";
import type { PowerState } from "../../../driver/index.js";
import { LibvirtError, isLibvirtError } from "../../rpc/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore, GuestListener } from "../guest-core.js";
import { readPowerState } from "./reconcile.js";
import { isInMemory } from "../power.js";

/** Asks the guest's operating system to power off. `virDomainShutdownFlags`. @throws InvalidStateError */
export async function requestShutdown(core: GuestCore, options: CommonOptions): Promise<void> {
  core.requireInMemory("requestShutdown");
  core.see({ shutdownAsked: true });
  const { domain, host, instance } = core;
  const limits = core.limits(options);
  await asDriverErrors({ operation: "requestShutdown", instance }, async () => {
    if (host.options.virtType !== "lxc") return domain.shutdownFlags(limits);
    // A container without a pipe for it is told by neither way when libvirt may choose.
    await domain.shutdownFlags({ flags: ["initctl"], ...limits }).catch((error: unknown) => {
      if (!isLibvirtError(error, "notSupported")) throw error;
    });
    if (core.inMemory) await domain.shutdownFlags({ flags: ["signal"], ...limits }).catch(ignoreStopped);
  });
}

function ignoreStopped(error: unknown): void {
  if (!isLibvirtError(error, "invalidState")) throw error;
}

/**
 * Ends a guest at once. `virDomainDestroyFlags`, which asks QEMU with SIGTERM for 10 s and then kills it. Success when it is not in memory, or there is none. One that somebody else
 * starts again meanwhile is ended again.
 * @throws GuestStuckError when the process does not end; AbortedError, after which it may still end
 */
export async function killGuest(core: GuestCore, options: CommonOptions): Promise<void> {
  throwIfAborted(options.signal, "killing the guest");
  const { host, instance } = core;
  const { signal, deadlineMs } = core.limits(options, host.timeouts.killMs);
  const deadline = Deadline.after(deadlineMs, { operation: "killing the guest", clock: host.clock, signal });
  const listener = core.listen();
  try {
    while (!(await killOnce(core, listener, deadline)));
  } catch (error) {
    if (isLibvirtError(error, "domainNotFound")) return core.see({ state: "shutdown" });
    // libvirt refuses for a domain that is not in memory.
    if (error instanceof LibvirtError && error.kind !== "connectionLost" && !(await isThere(core))) return;
    const late = options.deadline === undefined && isHyperviseError(error, "DEADLINE_EXCEEDED");
    if (late || isStuck(error))
      throw new GuestStuckError("the guest does not end although it was killed", { instance, cause: error });
    return await asDriverErrors({ operation: "kill", instance }, () => Promise.reject(error as Error));
  } finally {
    listener.close();
    deadline.dispose();
  }
}

/** @returns false when the guest has ended and runs again */
async function killOnce(core: GuestCore, listener: GuestListener, deadline: Deadline): Promise<boolean> {
  const limits = (): { readonly signal: AbortSignal; readonly deadlineMs: number } => {
    deadline.throwIfExpired();
    return { signal: deadline.signal, deadlineMs: Math.max(1, deadline.remainingMs) };
  };
  const { starts, domain } = core;
  await domain.destroyFlags(limits());
  const look = (): "ended" | "startedAgain" | undefined => {
    if (core.view.starting || !core.inMemory) return "ended";
    return core.starts === starts ? undefined : "startedAgain";
  };
  const end = await listener.until(look, { operation: "waiting for the guest to stop", ...limits() });
  return end === "ended";
}

/** What libvirt says when the process outlives SIGKILL, or when something else on the guest has not come to its end. */
function isStuck(error: unknown): boolean {
  if (!isLibvirtError(error)) return false;
  return error.kind === "busy" || error.kind === "timeout" || error.errno === "EBUSY";
}

async function isThere(core: GuestCore): Promise<boolean> {
  const state = await readPowerState(core).catch((error: unknown): PowerState => {
    if (isLibvirtError(error, "domainNotFound")) return "shutdown";
    throw error;
  });
  core.see({ state });
  return isInMemory(state);
}

/** Resolves when the guest is not in memory; at once if so. @throws AbortedError, DeadlineExceededError; ClosedError when the driver is closed */
export async function waitUntilStopped(core: GuestCore, { signal, deadline }: CommonOptions): Promise<void> {
  await core.until(() => (core.inMemory ? undefined : true), {
    operation: "waiting for the guest to stop",
    deadlineMs: deadline ?? FOR_EVER_MS,
    signal,
  });
}

/** As long as a timer can be. */
const FOR_EVER_MS = 2_147_483_647;

/** Taking a guest out of memory, and waiting until it is. */
import { isHyperviseError, throwIfAborted } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { GuestStuckError } from "../../../driver/index.js";
import { isLibvirtError } from "../../rpc/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
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
 * Ends a guest at once. `virDomainDestroyFlags`. Success when it is not in memory, or there is none.
 * @throws GuestStuckError when the process does not end; AbortedError, after which it may still end
 */
export async function killGuest(core: GuestCore, options: CommonOptions): Promise<void> {
  throwIfAborted(options.signal, "killing the guest");
  const { domain, host, instance } = core;
  const listener = core.listen();
  try {
    await domain.destroyFlags(core.limits(options, host.timeouts.killMs));
    await listener.until(() => (core.view.starting || !core.inMemory ? true : undefined), {
      operation: "waiting for the guest to stop",
      ...core.limits(options, host.timeouts.killMs),
    });
  } catch (error) {
    if (isLibvirtError(error, "domainNotFound")) return core.see({ state: "shutdown" });
    // libvirt says so of a domain that is not in memory.
    if (isLibvirtError(error, "invalidState") && !(await isThere(core))) return;
    if (
      options.deadline === undefined &&
      (isHyperviseError(error, "DEADLINE_EXCEEDED") || isLibvirtError(error, "busy"))
    )
      throw new GuestStuckError("the guest does not end although it was killed", { instance, cause: error });
    return await asDriverErrors({ operation: "kill", instance }, () => Promise.reject(error as Error));
  } finally {
    listener.close();
  }
}

async function isThere(core: GuestCore): Promise<boolean> {
  const state = await readPowerState(core);
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

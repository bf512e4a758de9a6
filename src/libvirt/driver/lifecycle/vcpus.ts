/** Stopping, resuming and resetting the vCPUs of a guest in memory. */
import type { CommonOptions } from "../../../core/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { reconcile } from "./reconcile.js";

/** `virDomainSuspend`. @throws InvalidStateError when the guest is not in memory */
export function pauseGuest(core: GuestCore, options: CommonOptions): Promise<void> {
  return change(core, "pause", "paused", () => core.domain.suspend(core.limits(options)));
}

/** `virDomainResume`. @throws InvalidStateError when the guest is not in memory */
export function resumeGuest(core: GuestCore, options: CommonOptions): Promise<void> {
  return change(core, "resume", "running", () => core.domain.resume(core.limits(options)));
}

/** `virDomainReset`. @throws InvalidStateError when the guest is not in memory */
export async function resetGuest(core: GuestCore, options: CommonOptions): Promise<void> {
  core.requireInMemory("reset");
  await asDriverErrors({ operation: "reset", instance: core.instance }, () => core.domain.reset(core.limits(options)));
}

async function change(
  core: GuestCore,
  operation: string,
  state: "paused" | "running",
  call: () => Promise<void>,
): Promise<void> {
  core.requireInMemory(operation);
  await asDriverErrors({ operation, instance: core.instance }, async () => {
    await reconcile(core);
    core.requireInMemory(operation);
    if (core.powerState !== state) await call();
  });
}

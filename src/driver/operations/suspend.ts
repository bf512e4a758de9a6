/** `suspend` and `resume`: a guest's memory to disk, and back. */
import { NotSupportedError } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import {
  announced,
  isInMemory,
  limited,
  powerStateOf,
  requireGuest,
  requireState,
  resumeGuest,
} from "../guest-actions.js";
import { changePower } from "../operation-steps.js";
import type { Guest, GuestSuspend } from "../guest.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import type { Operation } from "../operation.js";
import { setDesiredState } from "../desired-state.js";
import { runOperation } from "../run-operation.js";

export function suspend(host: HostContext, instance: InstanceRef, options?: OperationOptions): Promise<void> {
  return runOperation(
    host,
    { kind: "suspend", instance, options, timeoutMs: host.timeouts.suspendMs },
    async (operation) => {
      const guest = await requireGuest(host, instance.uuid, operation.signal);
      const state = await requireState(guest, "suspend", ["running", "paused", "suspended"], operation.signal);
      if (state !== "suspended") await saveMemory(operation, guest);
      await setDesiredState(operation, "suspended");
    },
  );
}

export function resume(host: HostContext, instance: InstanceRef, options?: OperationOptions): Promise<void> {
  return runOperation(
    host,
    { kind: "resume", instance, options, timeoutMs: host.timeouts.suspendMs },
    async (operation) => {
      const guest = await requireGuest(host, instance.uuid, operation.signal);
      const state = await requireState(guest, "resume", ["suspended", "running"], operation.signal);
      if (state === "suspended") await restoreMemory(operation, guest);
      await setDesiredState(operation, "running");
    },
  );
}

/** Saves a guest's memory and takes it out of memory; a failing operation restores it. */
export function saveMemory(operation: Operation, guest: Guest): Promise<void> {
  const { host, signal } = operation;
  operation.progress("save");
  return changePower(operation, guest, () =>
    announced(host, guest, "suspended", () =>
      limited(host, host.timeouts.suspendMs, "saving the guest's memory", signal, (limit) =>
        suspendOf(guest).save({ signal: limit }),
      ),
    ),
  );
}

/** Runs a guest on from its saved memory. */
export async function restoreMemory(operation: Operation, guest: Guest): Promise<void> {
  const { host, signal } = operation;
  operation.progress("restore");
  await changePower(operation, guest, () =>
    announced(host, guest, "resumed", () =>
      limited(host, host.timeouts.suspendMs, "restoring the guest's memory", signal, (limit) =>
        suspendOf(guest).restore({ signal: limit }),
      ),
    ),
  );
  const state = await powerStateOf(guest, signal);
  if (isInMemory(state) && state !== "running") await resumeGuest(host, guest, signal);
}

/** @throws NotSupportedError */
function suspendOf(guest: Guest): GuestSuspend {
  if (guest.suspend === undefined) throw new NotSupportedError({ capability: "suspend" });
  return guest.suspend;
}

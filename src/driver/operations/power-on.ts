/** `powerOn` and `resumeStateOnHostBoot`. */
import { admit } from "../admission.js";
import { bringUp } from "../bring-up.js";
import { changePower } from "../operation-steps.js";
import type { Guest } from "../guest.js";
import { powerStateOf, resumeGuest } from "../guest-actions.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { InvalidStateError } from "../errors.js";
import type { OperationOptions } from "../../core/index.js";
import type { Operation, OperationRequest } from "../operation.js";
import type { PowerState } from "../power-state.js";
import { restoreMemory } from "./suspend.js";
import { requireNotMigrating } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import { setDesiredState } from "../desired-state.js";

export async function powerOn(host: HostContext, given: InstanceRef, options?: OperationOptions): Promise<void> {
  return runOperation(host, startRequest(host, "powerOn", given, options), async (operation) => {
    const { guest, state } = await look(operation);
    await setDesiredState(operation, "running");
    await toRunning(operation, guest, state);
  });
}

export async function resumeStateOnHostBoot(
  host: HostContext,
  given: InstanceRef,
  options?: OperationOptions,
): Promise<void> {
  return runOperation(host, startRequest(host, "resumeStateOnHostBoot", given, options), async (operation) => {
    const { guest, state } = await look(operation);
    if (state !== "shutdown" && state !== "crashed") return;
    await setDesiredState(operation, "running");
    await toRunning(operation, guest, state);
  });
}

function startRequest(
  host: HostContext,
  kind: string,
  given: InstanceRef,
  options: OperationOptions | undefined,
): OperationRequest {
  const { startMs, attachMs, suspendMs } = host.timeouts;
  return { kind, instance: admit(host, given), options, timeoutMs: attachMs + Math.max(startMs, suspendMs) };
}

/** A guest that the hypervisor has lost counts as shut down: it is defined anew from the record. */
async function look({
  host,
  instance,
  kind,
  signal,
}: Operation): Promise<{ readonly guest: Guest | undefined; readonly state: PowerState }> {
  const record = host.records.require(instance.uuid);
  requireNotMigrating(record, kind);
  const guest = await host.hypervisor.find(instance.uuid, { signal });
  return { guest, state: guest === undefined ? "shutdown" : await powerStateOf(guest, signal) };
}

async function toRunning(operation: Operation, guest: Guest | undefined, state: PowerState): Promise<void> {
  const { host, instance, signal } = operation;
  operation.progress("boot");
  if (guest === undefined) {
    await operation.effect("guest", { uuid: instance.uuid }, () => bringUp(host, instance.uuid, signal));
    return;
  }
  switch (state) {
    case "running":
      return;
    case "paused":
      return changePower(operation, guest, () => resumeGuest(host, guest, signal));
    case "suspended":
      return restoreMemory(operation, guest);
    case "shutdown":
    case "crashed":
      return changePower(operation, guest, async () => {
        await bringUp(host, instance.uuid, signal);
      });
    case "nostate":
      throw new InvalidStateError({
        operation: operation.kind,
        state,
        expected: ["running", "paused", "suspended", "shutdown", "crashed"],
        instance,
      });
  }
}

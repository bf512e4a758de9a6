/** `pause` and `unpause`. */
import { admit } from "../admission.js";
import { changePower } from "../operation-steps.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import type { OperationOptions } from "../../core/index.js";
import { pauseGuest, requireGuest, requireState, resumeGuest } from "../guest-actions.js";
import { requireNotMigrating } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import { setDesiredState } from "../desired-state.js";

export async function pause(host: HostContext, given: InstanceRef, options?: OperationOptions): Promise<void> {
  const instance = admit(host, given);
  return runOperation(
    host,
    { kind: "pause", instance, options, timeoutMs: host.timeouts.attachMs },
    async (operation) => {
      requireNotMigrating(host.records.require(instance.uuid), "pause");
      const guest = await requireGuest(host, instance.uuid, operation.signal);
      const state = await requireState(guest, "pause", ["running", "paused"], operation.signal);
      if (state === "running") await changePower(operation, guest, () => pauseGuest(host, guest, operation.signal));
      await setDesiredState(operation, "paused");
    },
  );
}

export async function unpause(host: HostContext, given: InstanceRef, options?: OperationOptions): Promise<void> {
  const instance = admit(host, given);
  return runOperation(
    host,
    { kind: "unpause", instance, options, timeoutMs: host.timeouts.attachMs },
    async (operation) => {
      requireNotMigrating(host.records.require(instance.uuid), "unpause");
      const guest = await requireGuest(host, instance.uuid, operation.signal);
      const state = await requireState(guest, "unpause", ["running", "paused"], operation.signal);
      if (state === "paused") await changePower(operation, guest, () => resumeGuest(host, guest, operation.signal));
      await setDesiredState(operation, "running");
    },
  );
}

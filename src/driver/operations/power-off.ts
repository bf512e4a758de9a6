/** `powerOff`. */
import { check } from "../../core/index.js";
import type { OperationRecord } from "../../core/index.js";
import { admit } from "../admission.js";
import { askToShutDown } from "../shutdown.js";
import { checkOptions } from "../operation-options.js";
import type { Guest } from "../guest.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { isInMemory, killGuest, powerStateOf, requireGuest } from "../guest-actions.js";
import type { Operation } from "../operation.js";
import type { PowerOffOptions } from "../compute-driver.js";
import { requireNotMigrating } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import { setDesiredState } from "../desired-state.js";
import { ShutdownRefusedError } from "../errors.js";
import type { StopResult } from "../results.js";

const duration = check.integer({ min: 0, max: 86_400_000 });
const interval = check.integer({ min: 1, max: 86_400_000 });
const onTimeoutCheck = check.oneOf(["kill", "fail"]);

export async function powerOff(
  host: HostContext,
  given: InstanceRef,
  givenOptions?: PowerOffOptions,
): Promise<StopResult> {
  const instance = admit(host, given);
  const options = checkOptions(givenOptions);
  const { shutdownGraceMs, shutdownResendMs, killMs, undoMs } = host.timeouts;
  const graceMs = duration(options.graceMs ?? shutdownGraceMs, "options.graceMs");
  const resendMs = interval(options.resendMs ?? shutdownResendMs, "options.resendMs");
  const onTimeout = onTimeoutCheck(options.onTimeout ?? "kill", "options.onTimeout");
  const timeoutMs = graceMs + killMs + undoMs;
  return runOperation(host, { kind: "powerOff", instance, options, timeoutMs }, async (operation) => {
    requireNotMigrating(host.records.require(instance.uuid), "powerOff");
    const guest = await requireGuest(host, instance.uuid, operation.signal);
    const state = await powerStateOf(guest, operation.signal);
    if (!isInMemory(state)) {
      if (state !== "suspended") await setDesiredState(operation, "shutdown");
      return { how: "already" };
    }
    operation.progress("shutdown");
    const request = { graceMs, resendMs, signal: operation.signal };
    if (graceMs > 0 && state === "running" && (await askToShutDown(host, guest, request))) {
      await setDesiredState(operation, "shutdown");
      return { how: "guest" };
    }
    if (onTimeout === "fail") throw refused(operation, graceMs);
    await killForGood(operation, guest);
    return { how: "killed" };
  });
}

/** Finishes a `powerOff` that a former process had begun. */
export async function finishPowerOff(host: HostContext, { instanceUuid }: OperationRecord): Promise<void> {
  const guest = instanceUuid === undefined ? undefined : await host.hypervisor.find(instanceUuid);
  if (guest === undefined) return;
  await killGuest(host, guest);
  await rememberOff(host, guest.uuid);
}

async function killForGood(operation: Operation, guest: Guest): Promise<void> {
  const { host, instance } = operation;
  await operation.passPointOfNoReturn();
  await killGuest(host, guest, operation.signal);
  await rememberOff(host, instance.uuid);
}

async function rememberOff(host: HostContext, uuid: string): Promise<void> {
  if (host.records.get(uuid) === undefined) return;
  await host.records.update(uuid, (record) => ({ ...record, desiredState: "shutdown" }));
}

function refused({ instance }: Operation, graceMs: number): ShutdownRefusedError {
  return new ShutdownRefusedError(`the guest did not shut down within ${graceMs} ms`, {
    instance,
    remedy: "Give it more time, or have it killed with onTimeout: kill.",
  });
}

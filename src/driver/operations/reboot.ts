/** `reboot`: ends with the guest running, from any state. */
import { check } from "../../core/index.js";
import type { OperationOptions, OperationRecord } from "../../core/index.js";
import { admit } from "../admission.js";
import { askToShutDown } from "../shutdown.js";
import { bringUp } from "../bring-up.js";
import { changePower } from "../operation-steps.js";
import { checkOptions } from "../operation-options.js";
import type { Guest } from "../guest.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { isInMemory, killGuest, powerStateOf, signalOption } from "../guest-actions.js";
import type { Operation } from "../operation.js";
import type { RebootType } from "../compute-driver.js";
import { requireNotMigrating } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import { setDesiredState } from "../desired-state.js";

const typeCheck = check.oneOf(["soft", "hard"]);
const duration = check.integer({ min: 0, max: 86_400_000 });

export async function reboot(
  host: HostContext,
  given: InstanceRef,
  type: RebootType,
  givenOptions?: OperationOptions & { readonly graceMs?: number },
): Promise<{ readonly type: RebootType }> {
  const instance = admit(host, given);
  const options = checkOptions(givenOptions);
  const asked = typeCheck(type, "type");
  const { softRebootMs, killMs, attachMs, startMs } = host.timeouts;
  const graceMs = duration(options.graceMs ?? softRebootMs, "options.graceMs");
  const timeoutMs = (asked === "soft" ? graceMs : 0) + killMs + attachMs + startMs;
  return runOperation(host, { kind: "reboot", instance, options, timeoutMs }, async (operation) => {
    requireNotMigrating(host.records.require(instance.uuid), "reboot");
    const guest = await host.hypervisor.find(instance.uuid, { signal: operation.signal });
    if (asked === "soft" && guest !== undefined && (await softly(operation, guest, graceMs))) return { type: "soft" };
    await setDesiredState(operation, "running");
    await operation.passPointOfNoReturn({}, "give-up");
    await rebuild(host, instance.uuid, operation.signal);
    return { type: "hard" };
  });
}

/** Finishes a hard `reboot` that a former process had begun. What can't be put up again now is told as lost, and left to the next reboot. */
export async function finishReboot(host: HostContext, { instanceUuid }: OperationRecord): Promise<void> {
  if (instanceUuid === undefined || host.records.get(instanceUuid) === undefined) return;
  await rebuild(host, instanceUuid).catch(() => undefined);
}

/** True when the guest has stopped by itself and runs again. While it is asked, a failing operation leaves it running. */
async function softly(operation: Operation, guest: Guest, graceMs: number): Promise<boolean> {
  const { host, signal } = operation;
  if ((await powerStateOf(guest, signal)) !== "running" || graceMs === 0) return false;
  operation.progress("shutdown");
  let stopped = false;
  await changePower(operation, guest, async () => {
    stopped = await askToShutDown(host, guest, { graceMs, resendMs: host.timeouts.shutdownResendMs, signal });
    if (!stopped) return;
    operation.progress("boot");
    await bringUp(host, guest.uuid, signal);
  });
  return stopped;
}

/** Takes the guest down, saved memory and all, and brings it up from its record. */
async function rebuild(host: HostContext, uuid: string, signal?: AbortSignal): Promise<void> {
  const guest = await host.hypervisor.find(uuid, signalOption(signal));
  if (guest !== undefined) {
    const state = await powerStateOf(guest, signal);
    if (state === "suspended") await guest.suspend?.discard();
    else if (isInMemory(state)) await killGuest(host, guest, signal);
  }
  await bringUp(host, uuid, signal, { repair: true });
}

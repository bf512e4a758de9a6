/** `destroy`, `cleanup`, `deleteInstanceFiles`: what takes an instance off the host. */
import { check } from "../../core/index.js";
import type { OperationOptions, OperationRecord } from "../../core/index.js";
import { isInMemory, powerStateOf } from "../guest-actions.js";
import { askToShutDown } from "../shutdown.js";
import { admit } from "../admission.js";
import { checkOptions } from "../operation-options.js";
import type { DestroyOptions } from "../compute-driver.js";
import type { HostContext } from "../host-context.js";
import { instanceOf } from "../recover-operations.js";
import type { InstanceRef } from "../instance-spec.js";
import { InvalidStateError } from "../errors.js";
import type { Operation } from "../operation.js";
import { runOperation } from "../run-operation.js";
import { settleLeftovers } from "../leftovers.js";
import { tearDown } from "../tear-down.js";

const flag = check.boolean();
const duration = check.integer({ min: 0, max: 86_400_000 });

export async function destroy(host: HostContext, given: InstanceRef, givenOptions?: DestroyOptions): Promise<void> {
  const instance = admit(host, given);
  const options = checkOptions(givenOptions);
  const destroyDisks = flag(options.destroyDisks ?? true, "options.destroyDisks");
  const graceMs = duration(options.graceMs ?? 0, "options.graceMs");
  const timeoutMs = graceMs + host.timeouts.destroyMs;
  return runOperation(host, { kind: "destroy", instance, options, timeoutMs, leftovers: "own" }, async (operation) => {
    if (graceMs > 0) await giveGrace(operation, graceMs);
    await removeEverything(operation, destroyDisks);
  });
}

export async function cleanup(
  host: HostContext,
  given: InstanceRef,
  givenOptions?: OperationOptions & { readonly destroyDisks?: boolean },
): Promise<void> {
  const instance = admit(host, given);
  const options = checkOptions(givenOptions);
  const destroyDisks = flag(options.destroyDisks ?? true, "options.destroyDisks");
  const { destroyMs } = host.timeouts;
  return runOperation(
    host,
    { kind: "cleanup", instance, options, timeoutMs: destroyMs, leftovers: "own" },
    async (operation) => {
      await refuseInMemory(operation);
      await removeEverything(operation, destroyDisks);
    },
  );
}

export async function deleteInstanceFiles(host: HostContext, given: InstanceRef): Promise<boolean> {
  const instance = admit(host, given);
  const { destroyMs } = host.timeouts;
  return runOperation(
    host,
    { kind: "deleteInstanceFiles", instance, options: undefined, timeoutMs: destroyMs },
    async ({ host: { records, collaborators } }) => {
      if (records.get(instance.uuid) !== undefined) {
        throw new InvalidStateError({
          operation: "deleteInstanceFiles",
          state: "known",
          expected: ["destroyed"],
          instance,
        });
      }
      return collaborators.disks.removeAll(instance.uuid);
    },
  );
}

/** Finishes a `destroy` or `cleanup` that a former process had begun. */
export async function finishDestroy(host: HostContext, operation: OperationRecord): Promise<void> {
  const instance = instanceOf(operation);
  if (instance !== undefined)
    await tearDown(host, { instance, destroyDisks: operation.params["destroyDisks"] !== false });
}

async function removeEverything(operation: Operation, destroyDisks: boolean): Promise<void> {
  const { host, instance } = operation;
  await operation.passPointOfNoReturn({ destroyDisks });
  const errors = await settleLeftovers(host, instance.uuid);
  operation.progress("removing");
  await tearDown(host, { instance, destroyDisks, errors, signal: operation.signal });
}

async function giveGrace({ host, instance, signal }: Operation, graceMs: number): Promise<void> {
  const guest = await host.hypervisor.find(instance.uuid, { signal });
  if (guest === undefined || (await powerStateOf(guest, signal)) !== "running") return;
  await askToShutDown(host, guest, { graceMs, resendMs: host.timeouts.shutdownResendMs, signal });
}

async function refuseInMemory({ host, instance, kind, signal }: Operation): Promise<void> {
  const guest = await host.hypervisor.find(instance.uuid, { signal });
  const state = guest === undefined ? "shutdown" : await powerStateOf(guest, signal);
  if (isInMemory(state)) throw new InvalidStateError({ operation: kind, state, expected: ["shutdown"], instance });
}

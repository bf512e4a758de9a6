/** `setVcpus` and `setMemory`: what a guest has of the host's, changed while it runs or not. */
import { check, isHyperviseError, NotSupportedError } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import { admit } from "../admission.js";
import { checkMemory, checkVcpus, withMemory, withVcpus } from "../resized-flavor.js";
import { DeviceDetachError } from "../errors.js";
import type { Guest } from "../guest.js";
import { guestDefinitionOf } from "../guest-definition-of.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRecord } from "../instance-record.js";
import type { InstanceRef } from "../instance-spec.js";
import { isInMemory, limited, requireGuest, requireState } from "../guest-actions.js";
import type { Operation } from "../operation.js";
import { redefineGuest } from "../redefine-guest.js";
import { requireNoTask } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import { validateInstanceSpec } from "../validate-instance-spec.js";
import { writeRecord } from "../operation-steps.js";

const vcpusCheck = check.integer({ min: 1, max: 1024 });
export const memoryCheck = check.integer({ min: 1, max: 67_108_864 });

/** One of the two things that can be changed. */
interface Change {
  readonly kind: "setVcpus" | "setMemory";
  /** The record with the change. @throws InvalidArgumentError */
  readonly change: (record: InstanceRecord) => InstanceRecord;
  /** Changes a guest in memory; a failing operation changes it back. */
  readonly live: (operation: Operation, guest: Guest, record: InstanceRecord, signal: AbortSignal) => Promise<void>;
}

export async function setVcpus(
  host: HostContext,
  given: InstanceRef,
  vcpus: number,
  options?: OperationOptions,
): Promise<void> {
  const instance = admit(host, given);
  vcpusCheck(vcpus, "vcpus");
  return resizeGuest(host, instance, options, {
    kind: "setVcpus",
    change: (record) => {
      checkVcpus(record, vcpus);
      return withVcpus(record, vcpus);
    },
    live: (operation, guest, { uuid, spec }, signal) =>
      operation.effect("vcpus", { uuid, vcpus: spec.flavor.vcpus }, async () => {
        if (guest.setVcpus === undefined) throw new NotSupportedError({ capability: "vcpuHotplug" });
        await guest.setVcpus(vcpus, { signal });
      }),
  });
}

export async function setMemory(
  host: HostContext,
  given: InstanceRef,
  memoryMiB: number,
  options?: OperationOptions,
): Promise<void> {
  const instance = admit(host, given);
  memoryCheck(memoryMiB, "memoryMiB");
  return resizeGuest(host, instance, options, {
    kind: "setMemory",
    change: (record) => {
      checkMemory(record, memoryMiB);
      return withMemory(record, memoryMiB);
    },
    live: (operation, guest, { uuid, spec }, signal) =>
      operation.effect("memory", { uuid, memoryMiB: spec.flavor.memoryMiB }, async () => {
        if (guest.setMemory === undefined) throw new NotSupportedError({ capability: "memoryHotplug" });
        await guest.setMemory(memoryMiB, { signal });
      }),
  });
}

function resizeGuest(
  host: HostContext,
  instance: InstanceRef,
  options: OperationOptions | undefined,
  { kind, change, live }: Change,
): Promise<void> {
  const { attachMs, detachMs } = host.timeouts;
  const limitMs = attachMs + detachMs;
  return runOperation(host, { kind, instance, options, timeoutMs: 2 * limitMs }, async (operation) => {
    const { signal } = operation;
    const record = host.records.require(instance.uuid);
    requireNoTask(record, kind);
    const changed = change(record);
    if (changed === record) return;
    validateInstanceSpec(changed.spec);
    host.hypervisor.check(guestDefinitionOf(changed));
    const guest = await requireGuest(host, instance.uuid, signal);
    const state = await requireState(guest, kind, ["running", "paused", "shutdown", "crashed"], signal);
    if (isInMemory(state)) await inTime(operation, limitMs, (limit) => live(operation, guest, record, limit));
    else await redefineGuest(operation, guest, changed);
    await writeRecord(operation, changed);
  });
}

/** A guest that does not answer in time has not let go. */
async function inTime(
  operation: Operation,
  limitMs: number,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { host, signal, kind, instance } = operation;
  try {
    await limited(host, limitMs, kind, signal, work);
  } catch (error) {
    if (signal.aborted || !isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
    throw new DeviceDetachError(`the guest has not done what was asked of it within ${limitMs} ms`, {
      instance,
      cause: error,
      remedy: "See in the guest what stands against it, and call again.",
    });
  }
}

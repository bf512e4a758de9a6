/** `detachDevice`. */
import { check } from "../../core/index.js";
import type { OperationOptions, OperationRecord } from "../../core/index.js";
import { admit } from "../admission.js";
import { devicesOf, withDevices } from "../attached-devices.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import type { Operation } from "../operation.js";
import { isInMemory, powerStateOf } from "../guest-actions.js";
import { requireNoTask } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import { takeDevice } from "../detach.js";

const deviceIdCheck = check.string({ max: 128, charset: "name" });

export async function detachDevice(
  host: HostContext,
  given: InstanceRef,
  deviceId: string,
  options?: OperationOptions,
): Promise<void> {
  const instance = admit(host, given);
  deviceIdCheck(deviceId, "deviceId");
  const { detachMs, attachMs } = host.timeouts;
  const wasStopped = await runOperation(
    host,
    { kind: "detachDevice", instance, options, timeoutMs: detachMs + attachMs },
    async (operation) => {
      const stopped = await leaveGuest(operation, deviceId);
      if (stopped === undefined) return false;
      await operation.passPointOfNoReturn({ deviceId });
      await forget(host, instance.uuid, deviceId);
      return stopped;
    },
  );
  if (wasStopped) host.events.emit({ type: "device", instance, change: "detached", device: deviceId });
}

/** Finishes a `detachDevice` whose guest had let go. */
export async function finishDetachDevice(host: HostContext, { instanceUuid, params }: OperationRecord): Promise<void> {
  if (instanceUuid !== undefined) await forget(host, instanceUuid, check.string()(params["deviceId"], "deviceId"));
}

/** Whether the guest that had the device was not in memory: then no event of the hypervisor tells of its going. Undefined when there is none. */
async function leaveGuest(operation: Operation, deviceId: string): Promise<boolean | undefined> {
  const { host, instance, signal } = operation;
  const record = host.records.get(instance.uuid);
  const device = record === undefined ? undefined : devicesOf(record).find(({ id }) => id === deviceId);
  if (record === undefined || device === undefined) return undefined;
  requireNoTask(record, "detachDevice");
  const guest = await host.hypervisor.find(instance.uuid, { signal });
  if (guest === undefined) return true;
  const stopped = !isInMemory(await powerStateOf(guest, signal));
  operation.progress("detach");
  await takeDevice(operation, guest, device);
  return stopped;
}

async function forget(host: HostContext, uuid: string, deviceId: string): Promise<void> {
  const record = host.records.get(uuid);
  if (record === undefined) return;
  const left = devicesOf(record).filter(({ id }) => id !== deviceId);
  if (left.length < devicesOf(record).length) await host.records.put(withDevices(record, left));
}

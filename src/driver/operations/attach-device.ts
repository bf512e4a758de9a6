/** `attachDevice` and `listDevices`. */
import { ConflictError, NotSupportedError } from "../../core/index.js";
import type { CommonOptions, OperationOptions } from "../../core/index.js";
import { admit } from "../admission.js";
import { checkUuid } from "../operation-options.js";
import { devicesOf, withDevices } from "../attached-devices.js";
import type { GuestDevice } from "../guest-hardware.js";
import { guestDefinitionOf } from "../guest-definition-of.js";
import { guestDeviceCheck } from "../validate-guest-hardware.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { limited, requireGuest, requireState } from "../guest-actions.js";
import { requireNoTask } from "../task-state.js";
import { runOperation, runQuery } from "../run-operation.js";
import { sameJson } from "../same-json.js";
import { validateInstanceSpec } from "../validate-instance-spec.js";
import { writeRecord } from "../operation-steps.js";

export async function attachDevice(
  host: HostContext,
  given: InstanceRef,
  givenDevice: GuestDevice,
  options?: OperationOptions,
): Promise<void> {
  const instance = admit(host, given);
  const device = guestDeviceCheck(givenDevice, "device");
  const { uuid } = instance;
  const { attachMs } = host.timeouts;
  const isNew = await runOperation(
    host,
    { kind: "attachDevice", instance, options, timeoutMs: 2 * attachMs },
    async (operation) => {
      const { signal } = operation;
      const record = host.records.require(uuid);
      requireNoTask(record, "attachDevice");
      const present = devicesOf(record).find(({ id }) => id === device.id);
      if (present !== undefined && sameJson(present, device)) return false;
      if (present !== undefined)
        throw new ConflictError(`${device.id} is the id of another device`, { instance, device: device.id });
      const guest = await requireGuest(host, uuid, signal);
      await requireState(guest, "attachDevice", ["running", "paused", "shutdown", "crashed"], signal);
      const attached = withDevices(record, [...devicesOf(record), device]);
      validateInstanceSpec(attached.spec);
      host.hypervisor.check(guestDefinitionOf(attached));
      await writeRecord(operation, attached);
      operation.progress("attach");
      await operation.effect("guestDevice", { uuid, deviceId: device.id }, () =>
        limited(host, attachMs, "attaching the device", signal, async (limit) => {
          if (guest.attachDevice === undefined) throw new NotSupportedError({ capability: "devices" });
          await guest.attachDevice(device, { signal: limit });
        }),
      );
      return true;
    },
  );
  if (isNew) host.events.emit({ type: "device", instance, change: "attached", device: device.id });
}

export function listDevices(
  host: HostContext,
  instance: Pick<InstanceRef, "uuid">,
  options?: CommonOptions,
): Promise<readonly GuestDevice[]> {
  return runQuery(host, "listDevices", options, async () => devicesOf(host.records.require(checkUuid(instance))));
}

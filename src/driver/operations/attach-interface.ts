/** `attachInterface`. */
import { ConflictError } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import { admit } from "../admission.js";
import { applyFilters, plugVif, prepareFilters, writeRecord } from "../operation-steps.js";
import type { AttachedInterface } from "../facets/interfaces.js";
import { attachedInterfaceOf } from "./list-interfaces.js";
import { guestNicOf } from "../guest-definition-of.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRecord, PluggedVif } from "../instance-record.js";
import type { InstanceRef } from "../instance-spec.js";
import { limited, requireGuest, requireState } from "../guest-actions.js";
import type { Operation } from "../operation.js";
import { requireNoTask } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import type { Vif } from "../../network/index.js";
import { vifCheck } from "../validate-vif.js";

export async function attachInterface(
  host: HostContext,
  given: InstanceRef,
  givenVif: Vif,
  options?: OperationOptions,
): Promise<AttachedInterface> {
  const instance = admit(host, given);
  const vif = vifCheck(givenVif, "vif");
  host.collaborators.vifs.validate(vif, "vif");
  const { attachMs } = host.timeouts;
  const result = await runOperation(
    host,
    { kind: "attachInterface", instance, options, timeoutMs: 2 * attachMs },
    async (operation) => {
      const record = host.records.require(instance.uuid);
      requireNoTask(record, "attachInterface");
      const plugged = findPlugged(record, vif);
      if (plugged !== undefined) return { plugged, isNew: false };
      return { plugged: await attach(operation, record, vif), isNew: true };
    },
  );
  if (result.isNew) host.events.emit({ type: "device", instance, change: "attached", device: vif.id });
  return attachedInterfaceOf(result.plugged);
}

/** The port, when the instance has it. @throws ConflictError when it has it with another MAC address, or another port has this one. */
function findPlugged(record: InstanceRecord, vif: Vif): PluggedVif | undefined {
  const same = record.vifs.find((plugged) => plugged.vif.id === vif.id || plugged.vif.macAddress === vif.macAddress);
  if (same === undefined || (same.vif.id === vif.id && same.vif.macAddress === vif.macAddress)) return same;
  const { uuid, name } = record;
  throw new ConflictError(`the instance has port ${same.vif.id} with MAC address ${same.vif.macAddress}`, {
    instance: { uuid, name },
    device: vif.id,
  });
}

async function attach(operation: Operation, record: InstanceRecord, vif: Vif): Promise<PluggedVif> {
  const { host, instance, signal } = operation;
  const guest = await requireGuest(host, instance.uuid, signal);
  await requireState(guest, "attachInterface", ["running", "paused", "shutdown", "crashed"], signal);
  const claimed = { ...record, spec: { ...record.spec, vifs: [...(record.spec.vifs ?? []), vif] } };
  await writeRecord(operation, claimed);
  operation.progress("plug");
  const plugged = await plugVif(operation, vif);
  const vifs = [...record.vifs, plugged];
  await prepareFilters(operation, instance, vifs, record.vifs);
  await applyFilters(operation, instance, vifs);
  operation.progress("attach");
  await operation.effect("guestNic", { uuid: instance.uuid, nicId: vif.id }, () =>
    limited(host, host.timeouts.attachMs, "attaching the NIC", signal, (limit) =>
      guest.attachNic(guestNicOf(plugged), { signal: limit }),
    ),
  );
  await writeRecord(operation, { ...claimed, vifs });
  return plugged;
}

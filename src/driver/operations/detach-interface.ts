/** `detachInterface`. */
import type { JsonObject, OperationOptions, OperationRecord } from "../../core/index.js";
import { admit } from "../admission.js";
import { checkVifId, vifCheck } from "../validate-vif.js";
import { filteredInstance } from "../filtered-instance.js";
import { guestNicOf } from "../guest-definition-of.js";
import type { HostContext } from "../host-context.js";
import { instanceOf } from "../recover-operations.js";
import type { InstanceRecord } from "../instance-record.js";
import type { InstanceRef } from "../instance-spec.js";
import { isInMemory, powerStateOf } from "../guest-actions.js";
import type { Operation } from "../operation.js";
import { requireNoTask } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import { takeNic } from "../detach.js";
import type { Vif } from "../../network/index.js";

export async function detachInterface(
  host: HostContext,
  given: InstanceRef,
  port: Pick<Vif, "id"> | Vif,
  options?: OperationOptions,
): Promise<void> {
  const instance = admit(host, given);
  const vifId = checkVifId(port, "vif");
  const whole = "type" in port ? vifCheck(port, "vif") : undefined;
  const { detachMs, attachMs } = host.timeouts;
  const wasStopped = await runOperation(
    host,
    { kind: "detachInterface", instance, options, timeoutMs: detachMs + attachMs },
    async (operation) => {
      const vif = vifOf(host.records.get(instance.uuid), vifId) ?? whole;
      if (vif === undefined) return false;
      const stopped = await leaveGuest(operation, vifId);
      operation.progress("unplug");
      await operation.passPointOfNoReturn({ vif: vif as unknown as JsonObject });
      await leaveHost(host, instance, vif);
      return stopped;
    },
  );
  if (wasStopped) host.events.emit({ type: "device", instance, change: "detached", device: vifId });
}

/** Finishes a `detachInterface` whose guest had let go. */
export async function finishDetachInterface(host: HostContext, operation: OperationRecord): Promise<void> {
  const instance = instanceOf(operation);
  if (instance !== undefined) await leaveHost(host, instance, vifCheck(operation.params["vif"], "vif"));
}

/** True when the guest had the NIC and was not in memory: then no event of the hypervisor tells of its going. */
async function leaveGuest(operation: Operation, vifId: string): Promise<boolean> {
  const { host, instance, signal } = operation;
  const record = host.records.get(instance.uuid);
  const plugged = record?.vifs.find(({ vif }) => vif.id === vifId);
  if (record === undefined || plugged === undefined) return false;
  requireNoTask(record, "detachInterface");
  const guest = await host.hypervisor.find(instance.uuid, { signal });
  if (guest === undefined) return true;
  const stopped = !isInMemory(await powerStateOf(guest, signal));
  operation.progress("detach");
  await takeNic(operation, guest, guestNicOf(plugged));
  return stopped;
}

async function leaveHost(host: HostContext, instance: InstanceRef, vif: Vif): Promise<void> {
  const { firewall, vifs } = host.collaborators;
  await vifs.unplug(vif, instance.uuid);
  const record = host.records.get(instance.uuid);
  if (record === undefined || vifOf(record, vif.id) === undefined) return;
  const left = withoutVif(record, vif.id);
  const filtered = filteredInstance(instance, left.vifs);
  await firewall.setupBasicFiltering(filtered);
  await firewall.prepareInstanceFilter(filtered);
  await firewall.applyInstanceFilter(filtered);
  await host.records.put(left);
}

function vifOf(record: InstanceRecord | undefined, id: string): Vif | undefined {
  return record?.vifs.find(({ vif }) => vif.id === id)?.vif;
}

function withoutVif(record: InstanceRecord, id: string): InstanceRecord {
  const { vifs: wanted = [], ...spec } = record.spec;
  const kept = wanted.filter((vif) => vif.id !== id);
  const vifs = record.vifs.filter(({ vif }) => vif.id !== id);
  return { ...record, vifs, spec: kept.length === 0 ? spec : { ...spec, vifs: kept } };
}

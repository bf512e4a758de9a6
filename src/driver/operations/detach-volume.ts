/** `detachVolume`. */
import type { JsonObject, OperationOptions, OperationRecord } from "../../core/index.js";
import { admit } from "../admission.js";
import { connectionCheck } from "../validate-volume.js";
import { connectorOf } from "../volume-connectors.js";
import { disconnectVolume } from "../effects.js";
import type { HostContext } from "../host-context.js";
import { instanceOf } from "../recover-operations.js";
import type { AttachedVolume, InstanceRecord } from "../instance-record.js";
import type { InstanceRef } from "../instance-spec.js";
import type { Operation } from "../operation.js";
import { isInMemory, powerStateOf } from "../guest-actions.js";
import { requireNoTask } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import { takeDisk } from "../detach.js";
import type { VolumeConnection } from "../../storage/index.js";
import { volumeDiskOf } from "../guest-definition-of.js";

export async function detachVolume(
  host: HostContext,
  given: InstanceRef,
  givenConnection: VolumeConnection,
  options?: OperationOptions,
): Promise<void> {
  const instance = admit(host, given);
  const connection = connectionCheck(givenConnection, "connection");
  connectorOf(host, connection);
  const { detachMs, attachMs } = host.timeouts;
  const stopped = await runOperation(
    host,
    { kind: "detachVolume", instance, options, timeoutMs: detachMs + attachMs },
    async (operation) => {
      const left = await leaveGuest(operation, connection.volumeId);
      operation.progress("disconnect");
      await operation.passPointOfNoReturn({ connection: connection as unknown as JsonObject });
      await leaveHost(host, instance.uuid, connection);
      return left;
    },
  );
  if (stopped !== undefined) host.events.emit({ type: "device", instance, change: "detached", device: stopped.diskId });
}

/** Finishes a `detachVolume` whose guest had let go. */
export async function finishDetachVolume(host: HostContext, operation: OperationRecord): Promise<void> {
  const instance = instanceOf(operation);
  if (instance === undefined) return;
  await leaveHost(host, instance.uuid, connectionCheck(operation.params["connection"], "connection"));
}

/** The volume, when the guest had it and was not in memory: then no event of the hypervisor tells of its going. */
async function leaveGuest(operation: Operation, volumeId: string): Promise<AttachedVolume | undefined> {
  const { host, instance, signal } = operation;
  const record = host.records.get(instance.uuid);
  const volume = record?.volumes.find(({ connection }) => connection.volumeId === volumeId);
  if (record === undefined || volume === undefined) return undefined;
  requireNoTask(record, "detachVolume");
  const guest = await host.hypervisor.find(instance.uuid, { signal });
  if (guest === undefined) return volume;
  const stopped = !isInMemory(await powerStateOf(guest, signal));
  operation.progress("detach");
  await takeDisk(operation, guest, volumeDiskOf(volume));
  return stopped ? volume : undefined;
}

async function leaveHost(host: HostContext, uuid: string, connection: VolumeConnection): Promise<void> {
  await disconnectVolume(host, connection, uuid);
  const record = host.records.get(uuid);
  if (record !== undefined) await host.records.put(withoutVolume(record, connection.volumeId));
}

function withoutVolume(record: InstanceRecord, volumeId: string): InstanceRecord {
  const others = <D extends { readonly connection?: VolumeConnection }>(devices: readonly D[]): readonly D[] =>
    devices.filter(({ connection }) => connection?.volumeId !== volumeId);
  const { blockDevices, ...spec } = record.spec;
  const kept = others(blockDevices ?? []);
  return {
    ...record,
    volumes: others(record.volumes),
    spec: kept.length === 0 ? spec : { ...spec, blockDevices: kept },
  };
}

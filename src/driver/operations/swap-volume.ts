/** `swapVolume`: from one volume to another under a guest that goes on. */
import { ConflictError, isHyperviseError } from "../../core/index.js";
import type { JsonObject, OperationOptions, OperationRecord } from "../../core/index.js";
import type { AttachedDisk } from "../facets/volumes.js";
import type { AttachedVolume, InstanceRecord } from "../instance-record.js";
import { attachedDiskOf } from "./list-disks.js";
import { connectionCheck } from "../validate-volume.js";
import { connectorOf } from "../volume-connectors.js";
import { connectVolume, writeRecord } from "../operation-steps.js";
import { disconnectVolume } from "../effects.js";
import type { Guest } from "../guest.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import type { Operation } from "../operation.js";
import { limited, requireInMemory } from "../guest-actions.js";
import { requireNoTask } from "../task-state.js";
import { requireVolume, withVolume } from "../attached-volume.js";
import { runOperation } from "../run-operation.js";
import type { VolumeConnection } from "../../storage/index.js";
import { VolumeSwapError } from "../errors.js";

export async function swapVolume(
  host: HostContext,
  instance: InstanceRef,
  givenOld: VolumeConnection,
  givenNew: VolumeConnection,
  options?: OperationOptions,
): Promise<AttachedDisk> {
  host.lifecycle.assertReady();
  const { volumeId } = connectionCheck(givenOld, "oldConnection");
  const connection = connectionCheck(givenNew, "newConnection");
  connectorOf(host, connection).validate(connection, "newConnection");
  const timeoutMs = host.timeouts.diskCopyMs + host.timeouts.attachMs;
  return runOperation(host, { kind: "swapVolume", instance, options, timeoutMs }, async (operation) => {
    const record = host.records.require(instance.uuid);
    requireNoTask(record, "swapVolume");
    const old = requireVolume(record, volumeId);
    refuseHeld(host, record.uuid, connection);
    const guest = await requireInMemory(host, instance.uuid, "swapVolume", operation.signal);
    const { source: _source, ...place } = old;
    await writeRecord(operation, claiming(record, connection));
    const fresh = await connectVolume(operation, { ...place, connection });
    await mirror(operation, guest, old, fresh);
    await operation.passPointOfNoReturn({ instance: { ...instance }, old, fresh } as unknown as JsonObject);
    await finish(host, instance.uuid, old, fresh);
    return attachedDiskOf(fresh);
  });
}

/** Finishes a swap whose guest has gone over to the new volume. Repeatable. */
export function finishSwapVolume(host: HostContext, { params, instanceUuid }: OperationRecord): Promise<void> {
  const { old, fresh } = params as unknown as { readonly old: AttachedVolume; readonly fresh: AttachedVolume };
  return instanceUuid === undefined ? Promise.resolve() : finish(host, instanceUuid, old, fresh);
}

async function finish(host: HostContext, uuid: string, old: AttachedVolume, fresh: AttachedVolume): Promise<void> {
  if (host.records.get(uuid) !== undefined) await host.records.update(uuid, (record) => withVolume(record, old, fresh));
  await disconnectVolume(host, old.connection, uuid);
}

/** A guest that has gone over goes back when the operation fails. */
async function mirror(operation: Operation, guest: Guest, old: AttachedVolume, fresh: AttachedVolume): Promise<void> {
  const { host, signal } = operation;
  operation.progress("copy");
  try {
    await operation.effect("mirror", { uuid: guest.uuid, diskId: old.diskId, from: old.source, to: fresh.source }, () =>
      limited(host, host.timeouts.diskCopyMs, "copying the volume", signal, async (limit) =>
        guest.mirrorDisk?.(old.diskId, fresh.source, { signal: limit }),
      ),
    );
  } catch (error) {
    if (signal.aborted || isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
    throw new VolumeSwapError("the volume could not be copied; the guest keeps the old one", {
      cause: error,
      device: old.connection.volumeId,
    });
  }
}

/** @throws ConflictError when the new volume is on this or, not being multiattach, on another instance. */
function refuseHeld(host: HostContext, uuid: string, { volumeId, multiattach }: VolumeConnection): void {
  const holders = host.records.volumeHolders(volumeId);
  if (holders.length === 0 || (multiattach === true && !holders.includes(uuid))) return;
  throw new ConflictError(`volume ${volumeId} is attached already`, { device: volumeId });
}

/** The record with the new volume among those that the instance is about to have, so that nobody else takes it. */
function claiming(record: InstanceRecord, connection: VolumeConnection): InstanceRecord {
  return { ...record, spec: { ...record.spec, blockDevices: [...(record.spec.blockDevices ?? []), { connection }] } };
}

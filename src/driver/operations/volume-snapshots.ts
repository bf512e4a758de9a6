/** `volumeSnapshotCreate` and `volumeSnapshotDelete`: Nova's assisted snapshots of file volumes. */
import { InvalidArgumentError } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import type { AttachedVolume } from "../instance-record.js";
import { connectionCheck } from "../validate-volume.js";
import { connectorOf } from "../volume-connectors.js";
import type { DiskSource, VolumeConnection } from "../../storage/index.js";
import type { Guest } from "../guest.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { inVolumeTurn, writeRecord } from "../operation-steps.js";
import type { Operation } from "../operation.js";
import { requireInMemory } from "../guest-actions.js";
import { requireNoTask } from "../task-state.js";
import { requireVolume, withVolume } from "../attached-volume.js";
import { runOperation } from "../run-operation.js";

export function volumeSnapshotCreate(
  host: HostContext,
  instance: InstanceRef,
  overlay: VolumeConnection,
  options?: OperationOptions,
): Promise<void> {
  return goOver(
    host,
    "volumeSnapshotCreate",
    instance,
    overlay,
    "overlay",
    options,
    async (guest, { diskId }, source, signal) => guest.snapshotDisk?.(diskId, source, { signal }),
  );
}

export function volumeSnapshotDelete(
  host: HostContext,
  instance: InstanceRef,
  base: VolumeConnection,
  options?: OperationOptions,
): Promise<void> {
  return goOver(
    host,
    "volumeSnapshotDelete",
    instance,
    base,
    "base",
    options,
    async (guest, { diskId }, source, signal) => guest.commitDisk?.(diskId, source, { signal }),
  );
}

type Change = (guest: Guest, volume: AttachedVolume, source: DiskSource, signal: AbortSignal) => Promise<void>;

/** The record says what the volume will be before the guest goes over to it, so that a guest that did is started from the right file. */
async function goOver(
  host: HostContext,
  kind: string,
  instance: InstanceRef,
  given: VolumeConnection,
  path: string,
  options: OperationOptions | undefined,
  change: Change,
): Promise<void> {
  host.lifecycle.assertReady();
  const connection = connectionCheck(given, path);
  const connector = connectorOf(host, connection);
  connector.validate(connection, path);
  return runOperation(
    host,
    { kind, instance, options, timeoutMs: host.timeouts.diskCopyMs },
    async (operation: Operation) => {
      const { signal } = operation;
      const record = host.records.require(instance.uuid);
      requireNoTask(record, kind);
      const volume = requireVolume(record, connection.volumeId);
      if (volume.connection.type !== connection.type) {
        throw new InvalidArgumentError({
          field: `${path}.type`,
          value: connection.type,
          expected: `the volume's present type, ${volume.connection.type}`,
        });
      }
      const guest = await requireInMemory(host, instance.uuid, kind, signal);
      const source = await inVolumeTurn(host, connection, signal, () =>
        connector.connect(connection, instance.uuid, { signal }),
      );
      await writeRecord(operation, withVolume(record, volume, { ...volume, connection, source }));
      await change(guest, volume, source, signal);
    },
  );
}

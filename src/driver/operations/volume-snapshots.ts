/** `volumeSnapshotCreate` and `volumeSnapshotDelete`: Nova's assisted snapshots of file volumes. */
import { InvalidArgumentError, check } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import type { VolumeSnapshotDeleteOptions } from "../facets/volumes.js";
import type { AttachedVolume, InstanceRecord } from "../instance-record.js";
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
  options: VolumeSnapshotDeleteOptions = {},
): Promise<void> {
  const { merge = "down", ...rest } = options;
  mergeCheck(merge, "options.merge");
  if (merge !== "down") return pull(host, instance, base, merge, rest);
  return goOver(host, "volumeSnapshotDelete", instance, base, "base", rest, async (guest, { diskId }, source, signal) =>
    guest.commitDisk?.(diskId, source, { signal }),
  );
}

const mergeCheck = check.oneOf(["down", "up", "flatten"]);

type Change = (guest: Guest, volume: AttachedVolume, source: DiskSource, signal: AbortSignal) => Promise<void>;

/** The guest stays on the file that it has, so that the record does. */
async function pull(
  host: HostContext,
  instance: InstanceRef,
  given: VolumeConnection,
  merge: "up" | "flatten",
  options: OperationOptions,
): Promise<void> {
  const kind = "volumeSnapshotDelete";
  const connection = validConnection(host, given, "base");
  return runOperation(host, { kind, instance, options, timeoutMs: host.timeouts.diskCopyMs }, async (operation) => {
    const { volume, guest, source } = await reachFile(operation, kind, connection, "base");
    await guest.pullDisk?.(volume.diskId, merge === "up" ? source : undefined, { signal: operation.signal });
  });
}

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
  const connection = validConnection(host, given, path);
  return runOperation(host, { kind, instance, options, timeoutMs: host.timeouts.diskCopyMs }, async (operation) => {
    const { record, volume, guest, source } = await reachFile(operation, kind, connection, path);
    await writeRecord(operation, withVolume(record, volume, { ...volume, connection, source }));
    await change(guest, volume, source, operation.signal);
  });
}

function validConnection(host: HostContext, given: VolumeConnection, path: string): VolumeConnection {
  host.lifecycle.assertReady();
  const connection = connectionCheck(given, path);
  connectorOf(host, connection).validate(connection, path);
  return connection;
}

/** The volume that a connection is about, and what the file that it leads to is on this host. */
async function reachFile(
  { host, instance, signal }: Operation,
  kind: string,
  connection: VolumeConnection,
  path: string,
): Promise<{ record: InstanceRecord; volume: AttachedVolume; guest: Guest; source: DiskSource }> {
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
    connectorOf(host, connection).connect(connection, instance.uuid, { signal }),
  );
  return { record, volume, guest, source };
}

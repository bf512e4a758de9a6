/** The steps that several operations share: each is one effect on the host, with its undo. */
import type { FilteredInstance } from "../firewall/index.js";
import type { LocalImage, TransferOptions, VolumeConnection } from "../storage/index.js";
import type { Vif } from "../network/index.js";
import type { AttachedVolume, InstanceDisk, InstanceRecord, PluggedVif } from "./instance-record.js";
import { connectorOf } from "./volume-connectors.js";
import { filteredInstance } from "./filtered-instance.js";
import type { Guest } from "./guest.js";
import type { HostContext } from "./host-context.js";
import type { InstanceRef } from "./instance-spec.js";
import { limited, powerStateOf, startGuest } from "./guest-actions.js";
import type { Operation } from "./operation.js";
import { placeOfDisk } from "./plan-spawn.js";
import type { PlannedDisk, PlannedVolume } from "./plan-spawn.js";

/** Writes the instance's record; what stood there comes back when the operation fails. */
export function writeRecord(operation: Operation, record: InstanceRecord): Promise<void> {
  const { records } = operation.host;
  const previous = records.get(record.uuid) ?? null;
  return operation.effect("record", { uuid: record.uuid, previous }, () => records.put(record));
}

/** Brings an image onto the host; it stays in the cache whatever becomes of the operation. */
export function fetchImage(operation: Operation, imageId: string): Promise<LocalImage> {
  const { host } = operation;
  operation.throwIfAborted();
  operation.progress("image");
  return limited(host, host.timeouts.imageFetchMs, "fetching the image", operation.signal, (signal) =>
    host.collaborators.images.fetch(imageId, { signal, onProgress: transferProgress(operation, "image") }),
  );
}

/** Makes a disk; one of this name that was kept for the instance is taken as it is. */
export async function createDisk(
  operation: Operation,
  planned: PlannedDisk,
  image: LocalImage | undefined,
): Promise<InstanceDisk> {
  const { disks } = operation.host.collaborators;
  const { uuid } = operation.instance;
  const { guestFormat } = planned;
  const place = placeOfDisk(planned);
  const kept = (await disks.list(uuid)).find((disk) => disk.name === planned.name);
  if (kept !== undefined) return { ...place, sizeBytes: kept.virtualSizeBytes, source: kept.source };
  const sizeBytes = Math.max(planned.sizeBytes, image?.virtualSizeBytes ?? 0);
  const content = image === undefined ? (guestFormat === undefined ? {} : { guestFormat }) : { image };
  const request = { instanceUuid: uuid, name: planned.name, sizeBytes, ...content };
  const source = await operation.effect("disk", { uuid, name: planned.name }, () =>
    disks.create(request, { signal: operation.signal, onProgress: transferProgress(operation, "disks") }),
  );
  return { ...place, sizeBytes, source };
}

/** Makes a volume reachable on the host. */
export async function connectVolume(operation: Operation, planned: PlannedVolume): Promise<AttachedVolume> {
  const { host, instance } = operation;
  const { connection } = planned;
  const connector = connectorOf(host, connection);
  const source = await operation.effect("volume", { uuid: instance.uuid, connection }, () =>
    inVolumeTurn(host, connection, operation.signal, () =>
      connector.connect(connection, instance.uuid, { signal: operation.signal }),
    ),
  );
  return { ...planned, source };
}

/** Calls of connectors for one volume never overlap. */
export function inVolumeTurn<T>(
  host: HostContext,
  connection: VolumeConnection,
  signal: AbortSignal | undefined,
  call: () => Promise<T>,
): Promise<T> {
  return host.volumeLocks.run(connection.volumeId, call, { signal });
}

/** Plugs a port on the host. */
export async function plugVif(operation: Operation, vif: Vif): Promise<PluggedVif> {
  const { host, instance, signal } = operation;
  const backend = await operation.effect("vif", { uuid: instance.uuid, vif }, () =>
    host.collaborators.vifs.plug(vif, instance.uuid, { signal }),
  );
  return { vif, backend };
}

/**
 * Sets up the filters of an instance's ports and makes them ready; `applyFilters` puts them in force.
 * `previous` are the ports that were filtered before, to which a failing operation goes back.
 */
export function prepareFilters(
  operation: Operation,
  instance: InstanceRef,
  vifs: readonly PluggedVif[],
  previous: readonly PluggedVif[] | null,
): Promise<void> {
  const { firewall } = operation.host.collaborators;
  const filtered = filteredInstance(instance, vifs);
  const before: FilteredInstance | null = previous === null ? null : filteredInstance(instance, previous);
  return operation.effect(
    "filter",
    { instance: { uuid: instance.uuid, name: instance.name }, previous: before },
    async () => {
      await firewall.setupBasicFiltering(filtered);
      operation.throwIfAborted();
      await firewall.prepareInstanceFilter(filtered);
    },
  );
}

/** Puts prepared filters in force. Undone with `prepareFilters`. */
export function applyFilters(operation: Operation, instance: InstanceRef, vifs: readonly PluggedVif[]): Promise<void> {
  operation.throwIfAborted();
  return operation.host.collaborators.firewall.applyInstanceFilter(filteredInstance(instance, vifs));
}

/** Changes a guest's power state; when the operation fails it is brought back to the one that it has now. */
export async function changePower(operation: Operation, guest: Guest, change: () => Promise<void>): Promise<void> {
  const state = await powerStateOf(guest, operation.signal);
  await operation.effect("power", { uuid: guest.uuid, state }, change);
}

/** Starts a guest; a failing operation stops it again. */
export function bootGuest(operation: Operation, guest: Guest): Promise<void> {
  operation.progress("boot");
  return changePower(operation, guest, () => startGuest(operation.host, guest, operation.signal));
}

/** Tells the caller of a transfer's progress. */
export function transferProgress(operation: Operation, phase: string): NonNullable<TransferOptions["onProgress"]> {
  return ({ bytesDone, bytesTotal }) => {
    const known =
      bytesTotal === undefined || bytesTotal <= 0 ? {} : { bytesTotal, fraction: Math.min(1, bytesDone / bytesTotal) };
    operation.progress(phase, { bytesDone, ...known });
  };
}

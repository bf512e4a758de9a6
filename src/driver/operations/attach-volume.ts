/** `attachVolume`. */
import { check, ConflictError } from "../../core/index.js";
import { admit } from "../admission.js";
import type { AttachedDisk, AttachVolumeOptions } from "../facets/volumes.js";
import type { AttachedVolume, InstanceRecord } from "../instance-record.js";
import { attachedDiskOf } from "./list-disks.js";
import type { InstanceRef } from "../instance-spec.js";
import { blockDeviceCheck, connectionCheck } from "../validate-volume.js";
import { checkOptions } from "../operation-options.js";
import { connectorOf } from "../volume-connectors.js";
import { connectVolume, writeRecord } from "../operation-steps.js";
import type { HostContext } from "../host-context.js";
import { limited, requireGuest, requireState } from "../guest-actions.js";
import type { Operation } from "../operation.js";
import { planVolume } from "../plan-spawn.js";
import type { PlannedVolume, VolumeDevice } from "../plan-spawn.js";
import { requireNoTask } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import { volumeDiskOf } from "../guest-definition-of.js";
import type { VolumeConnection } from "../../storage/index.js";

const place = check.guarded(
  (value): value is AttachVolumeOptions => typeof value === "object" && value !== null,
  "an object",
);

export async function attachVolume(
  host: HostContext,
  given: InstanceRef,
  givenConnection: VolumeConnection,
  givenOptions?: AttachVolumeOptions,
): Promise<AttachedDisk> {
  const instance = admit(host, given);
  const options = checkOptions(givenOptions);
  const device = deviceOf(connectionCheck(givenConnection, "connection"), options);
  connectorOf(host, device.connection).validate(device.connection, "connection");
  const { attachMs } = host.timeouts;
  const result = await runOperation(
    host,
    { kind: "attachVolume", instance, options, timeoutMs: 2 * attachMs },
    async (operation) => {
      const record = host.records.require(instance.uuid);
      requireNoTask(record, "attachVolume");
      const attached = findAttached(record, device);
      if (attached !== undefined) return { attached, isNew: false };
      return { attached: await attach(operation, record, device), isNew: true };
    },
  );
  if (result.isNew) host.events.emit({ type: "device", instance, change: "attached", device: result.attached.diskId });
  return attachedDiskOf(result.attached);
}

/** What the caller asks for, in the terms of a spec. */
function deviceOf(connection: VolumeConnection, options: AttachVolumeOptions): VolumeDevice {
  const { deviceName, bus, deviceType, tag } = place(options, "options");
  const device = blockDeviceCheck(
    {
      connection,
      ...(deviceName === undefined ? {} : { deviceName }),
      ...(bus === undefined ? {} : { bus }),
      ...(deviceType === undefined ? {} : { deviceType }),
      ...(tag === undefined ? {} : { tag }),
    },
    "options",
  );
  return { ...device, connection };
}

/** The volume, when the instance has it. @throws ConflictError when it has it in another place, or another disk is in the place asked for. */
function findAttached(record: InstanceRecord, { connection, deviceName }: VolumeDevice): AttachedVolume | undefined {
  const attached = record.volumes.find((volume) => volume.connection.volumeId === connection.volumeId);
  const { uuid, name } = record;
  const conflict = (message: string): ConflictError =>
    new ConflictError(message, { instance: { uuid, name }, device: connection.volumeId });
  if (attached !== undefined && deviceName !== undefined && attached.deviceName !== deviceName) {
    throw conflict(`volume ${connection.volumeId} is attached as ${attached.deviceName}`);
  }
  if (attached === undefined && deviceName !== undefined && deviceNames(record).has(deviceName)) {
    throw conflict(`${deviceName} is the name of another disk`);
  }
  return attached;
}

async function attach(operation: Operation, record: InstanceRecord, device: VolumeDevice): Promise<AttachedVolume> {
  const { host, instance, signal } = operation;
  const guest = await requireGuest(host, instance.uuid, signal);
  await requireState(guest, "attachVolume", ["running", "paused", "shutdown", "crashed"], signal);
  const planned = withFreeId(planVolume(device, deviceNames(record)), record);
  const blockDevices = [...(record.spec.blockDevices ?? []), { ...device, deviceName: planned.deviceName }];
  const claimed = { ...record, spec: { ...record.spec, blockDevices } };
  await writeRecord(operation, claimed);
  operation.progress("connect");
  const volume = await connectVolume(operation, planned);
  operation.progress("attach");
  await operation.effect("guestDisk", { uuid: instance.uuid, diskId: volume.diskId }, () =>
    limited(host, host.timeouts.attachMs, "attaching the disk", signal, (limit) =>
      guest.attachDisk(volumeDiskOf(volume), { signal: limit }),
    ),
  );
  await writeRecord(operation, { ...claimed, volumes: [...record.volumes, volume] });
  return volume;
}

/** A volume that was swapped for another has left its id to that one. */
function withFreeId(planned: PlannedVolume, { volumes }: InstanceRecord): PlannedVolume {
  const isTaken = (id: string): boolean => volumes.some(({ diskId }) => diskId === id);
  let diskId = planned.diskId;
  for (let suffix = 2; isTaken(diskId); suffix += 1) diskId = `${planned.diskId}.${suffix}`;
  return { ...planned, diskId };
}

function deviceNames(record: InstanceRecord): Set<string> {
  const { disks, volumes, emptyDrives = [] } = record;
  return new Set([...disks, ...volumes, ...emptyDrives].map(({ deviceName }) => deviceName));
}

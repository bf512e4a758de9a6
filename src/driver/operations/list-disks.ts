/** `listDisks` and `getVolumeConnector`. */
import type { AttachedDisk } from "../facets/volumes.js";
import type { AttachedVolume, EmptyDrive, InstanceDisk } from "../instance-record.js";
import { checkInstance, checkUuid } from "../operation-options.js";
import type { CommonOptions } from "../../core/index.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { runQuery } from "../run-operation.js";
import type { VolumeHostProperties } from "../../storage/index.js";
import { volumeDiskOf } from "../guest-definition-of.js";

export function listDisks(
  host: HostContext,
  instance: Pick<InstanceRef, "uuid">,
  options?: CommonOptions,
): Promise<readonly AttachedDisk[]> {
  return runQuery(host, "listDisks", options, async () => {
    const record = host.records.require(checkUuid(instance));
    const { disks, volumes, emptyDrives = [] } = record;
    return [...disks.map(ownDiskOf), ...volumes.map(attachedDiskOf), ...emptyDrives.map(emptyDiskOf)];
  });
}

export function getVolumeConnector(host: HostContext, instance: InstanceRef): Promise<VolumeHostProperties> {
  return runQuery(host, "getVolumeConnector", undefined, async () => {
    checkInstance(instance);
    return host.collaborators.volumeHostProperties();
  });
}

/** A volume as a caller sees it. Pure. */
export function attachedDiskOf(volume: AttachedVolume): AttachedDisk {
  const { diskId: id, deviceName, bus, connection, source } = volume;
  return { id, deviceName, bus, volumeId: connection.volumeId, source, readOnly: volumeDiskOf(volume).readOnly };
}

/** A drive without a medium as a caller sees it. Pure. */
export function emptyDiskOf({ diskId: id, deviceName, bus, deviceType }: EmptyDrive): AttachedDisk {
  return { id, deviceName, bus, readOnly: deviceType === "cdrom" };
}

function ownDiskOf({ name: id, deviceName, bus, source, readOnly = false }: InstanceDisk): AttachedDisk {
  return { id, deviceName, bus, source, readOnly };
}

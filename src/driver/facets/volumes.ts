/** Volumes of an instance. */
import type { CommonOptions, OperationOptions } from "../../core/index.js";
import type { DeviceType, DiskBus, InstanceRef } from "../instance-spec.js";
import type { DiskSource, VolumeConnection, VolumeHostProperties } from "../../storage/index.js";

export interface AttachVolumeOptions extends OperationOptions {
  /** `vdb`; default: the next free name of the bus. */
  readonly deviceName?: string;
  /** Default `virtio`. */
  readonly bus?: DiskBus;
  /** Default `disk`. */
  readonly deviceType?: DeviceType;
  readonly tag?: string;
}

export interface AttachedDisk {
  /** Opaque; for `blockStats` and events. */
  readonly id: string;
  readonly deviceName: string;
  readonly bus: DiskBus;
  /** Absent for the instance's own disks, and for a drive without a medium. */
  readonly volumeId?: string;
  /** Absent: a drive without a medium. */
  readonly source?: DiskSource;
  readonly readOnly: boolean;
}

export interface VolumesFacet {
  /**
   * Connects a volume to the host and gives it to the instance, at once if its guest is in memory. Attaching what is attached succeeds.
   * Rejects with `ConflictError` (another volume has the device name; the volume is on another instance and not multiattach), `NoFreeSlotError`,
   * `VolumeConnectError`, `InvalidStateError` (suspended), `DeviceAttachError`. On failure or abort the guest does not have it and the host is not connected.
   */
  attachVolume(
    instance: InstanceRef,
    connection: VolumeConnection,
    options?: AttachVolumeOptions,
  ): Promise<AttachedDisk>;
  /**
   * Takes a volume out of the guest, and when the guest has let go, off the host. Success when it is not attached, even if the instance is gone:
   * the host is disconnected all the same. Rejects with `DeviceDetachError` when the guest does not let go in time; the volume is then still attached.
   */
  detachVolume(instance: InstanceRef, connection: VolumeConnection, options?: OperationOptions): Promise<void>;
  /** What a volume service must know of this host. (Nova's `get_volume_connector`.) */
  getVolumeConnector(instance: InstanceRef): Promise<VolumeHostProperties>;
  listDisks(instance: Pick<InstanceRef, "uuid">, options?: CommonOptions): Promise<readonly AttachedDisk[]>;
}

export interface VolumeExtendFacet {
  /** Tells host and guest that a volume has grown to `sizeBytes`. Rejects with `DiskNotFoundError` when it is not attached, `InvalidArgumentError` when it would shrink. */
  extendVolume(
    instance: InstanceRef,
    connection: VolumeConnection,
    sizeBytes: number,
    options?: OperationOptions,
  ): Promise<void>;
}

export interface VolumeSwapFacet {
  /**
   * Copies a volume's content to another under the guest and goes over to it. Rejects with `DiskNotFoundError`, `InvalidStateError` (not running), `VolumeSwapError`.
   * On failure or abort the guest keeps the old volume and the new one is not connected; on success the old one is not.
   */
  swapVolume(
    instance: InstanceRef,
    oldConnection: VolumeConnection,
    newConnection: VolumeConnection,
    options?: OperationOptions,
  ): Promise<AttachedDisk>;
}

export interface VolumeSnapshotsFacet {
  /**
   * Nova's assisted snapshots: the volume service has made a file over the volume's present one; the guest goes over to it. `overlay` says how to reach the new file, with the same `volumeId`.
   * Rejects with `DiskNotFoundError`, `InvalidStateError` (not in memory). On failure the guest keeps the file that it had.
   */
  volumeSnapshotCreate(instance: InstanceRef, overlay: VolumeConnection, options?: OperationOptions): Promise<void>;
  /**
   * Merges what was written since `volumeSnapshotCreate` into the file that `base` says how to reach, which the guest goes over to.
   * Rejects with `DiskNotFoundError`, `InvalidStateError` (not in memory). On failure the guest keeps the file that it had.
   */
  volumeSnapshotDelete(instance: InstanceRef, base: VolumeConnection, options?: OperationOptions): Promise<void>;
}

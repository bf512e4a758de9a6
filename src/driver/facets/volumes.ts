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

export interface VolumeSnapshotDeleteOptions extends OperationOptions {
  /**
   * `down`: what was written since `base` was the present file is merged into it, and the guest goes over to it. `up`: what is between `base` and the present file is copied
   * into that, which is based on `base` then; the guest stays on it. `flatten`: all that is below the present file is copied into it; of `base` only the volume counts. Default `down`.
   */
  readonly merge?: "down" | "up" | "flatten";
}

export interface VolumeSnapshotsFacet {
  /**
   * Nova's assisted snapshots: the volume service has made a file over the volume's present one; the guest goes over to it. `overlay` says how to reach the new file, with the same `volumeId`.
   * Rejects with `DiskNotFoundError`, `InvalidStateError` (not in memory). On failure the guest keeps the file that it had.
   */
  volumeSnapshotCreate(instance: InstanceRef, overlay: VolumeConnection, options?: OperationOptions): Promise<void>;
  /**
   * Merges the files of a volume down to the one that `base` says how to reach, in the direction of `options.merge`. The files that are not needed any more are the volume service's to remove.
   * Rejects with `DiskNotFoundError`, `InvalidStateError` (not in memory), `ConflictError` when the file is not below the present one. On failure the guest keeps the file that it had.
   */
  volumeSnapshotDelete(
    instance: InstanceRef,
    base: VolumeConnection,
    options?: VolumeSnapshotDeleteOptions,
  ): Promise<void>;
}

/** What is done to the disks that an instance has: media of its drives, limits. */
import type { AttachedDisk } from "./volumes.js";
import type { DiskLimits } from "../disk-tuning.js";
import type { InstanceRef } from "../instance-spec.js";
import type { OperationOptions } from "../../core/index.js";
import type { VolumeConnection } from "../../storage/index.js";

export interface RemovableMediaFacet {
  /**
   * Puts another volume into a CD or floppy drive, or with `undefined` takes it out; `drive` is the drive's id (`listDisks`) or the id of the volume in it. The new volume is connected to the host, the old one disconnected.
   * `force` opens a tray that the guest has locked. Success when it is so already.
   * Rejects with `DiskNotFoundError`, `InvalidArgumentError` (no drive), `ConflictError` (the volume is attached), `VolumeConnectError`, `DeviceDetachError` (locked), `InvalidStateError` (suspended).
   * On failure or abort the drive has what it had, and the new volume is not connected.
   */
  changeMedium(
    instance: InstanceRef,
    drive: string,
    medium: VolumeConnection | undefined,
    options?: OperationOptions & { readonly force?: boolean },
  ): Promise<AttachedDisk>;
}

export interface DiskLimitsFacet {
  /**
   * Sets the most that the guest may do to a disk, durably, at once if it is in memory, in place of the limits that the disk has; `{}` takes all off. `diskId` is that of `listDisks`.
   * Rejects with `DiskNotFoundError`, `InvalidArgumentError`, `InvalidStateError` (suspended). On failure or abort the disk has the limits that it had.
   */
  setDiskLimits(instance: InstanceRef, diskId: string, limits: DiskLimits, options?: OperationOptions): Promise<void>;
}

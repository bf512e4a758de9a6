/** Where an instance's own disks (root, ephemeral, swap, rescue) live on this host. */
import type { DiskSource, DiskSourceFormat } from "./disk-source.js";
import type { GuestFormat } from "./format-disk.js";
import type { TransferOptions } from "../images/image-store.js";
import type { LocalImage } from "../images/image.js";

/** What a disk is to the image it is made from: an overlay that needs it, or a copy that does not. */
export const DISK_LAYOUTS = ["overlay", "flat"] as const;
export type DiskLayout = (typeof DISK_LAYOUTS)[number];

export interface CreateDiskRequest {
  readonly instanceUuid: string;
  /** Name of the disk within the instance: `root`, `ephemeral0`, `swap`, `rescue`, `config`; `[a-z0-9.-]`, 1 to 64 characters. */
  readonly name: string;
  /** Size that the guest sees. With an image never less than the image's virtual size. */
  readonly sizeBytes: number;
  /** Content to start from; absent: an empty disk, or what `guestFormat` says. */
  readonly image?: LocalImage;
  /** What a disk without an image is formatted with; absent: nothing. A back end that can't rejects with `NotSupportedError`. */
  readonly guestFormat?: GuestFormat;
  /** Default: the back end's own. */
  readonly format?: DiskSourceFormat;
  /** `flat`: the disk needs the image no more, as for one that comes from another host. Default: the back end's own. */
  readonly layout?: DiskLayout;
}

/** A disk of an instance, as the back end sees it (Nova's `get_instance_disk_info`). */
export interface DiskInfo {
  readonly name: string;
  readonly source: DiskSource;
  /** Bytes that the guest sees. */
  readonly virtualSizeBytes: number;
  /** Bytes taken on the host. */
  readonly allocatedBytes: number;
  /** Id or path of what the disk is an overlay of. */
  readonly backingFile?: string;
  /** Bytes that may still be allocated: `virtualSizeBytes - allocatedBytes`, not below 0. */
  readonly overCommittedBytes: number;
}

export interface DiskCapacity {
  readonly totalBytes: number;
  readonly usedBytes: number;
  /** Free bytes less what the disks may still grow by; may be negative. */
  readonly leastAvailableBytes: number;
}

export interface DiskBackend {
  /** Creates a disk. Rejects with `ConflictError` when the instance has one of this name; on any failure nothing of the disk is left. */
  create(request: CreateDiskRequest, options?: TransferOptions): Promise<DiskSource>;

  /** Removes one disk; success when there is none. */
  remove(instanceUuid: string, name: string): Promise<void>;

  /** Removes everything the back end keeps for the instance, parked disks too; success when there is nothing. True when nothing is left. */
  removeAll(instanceUuid: string): Promise<boolean>;

  list(instanceUuid: string): Promise<readonly DiskInfo[]>;

  /** Uuids of all instances that have disks here. */
  listInstances(): Promise<readonly string[]>;

  /** Grows a disk that no guest has open. Rejects with `DiskNotFoundError`, and with `InvalidArgumentError` when `sizeBytes` is below the present size. */
  resize(instanceUuid: string, name: string, sizeBytes: number, options?: TransferOptions): Promise<void>;

  /**
   * Writes a flattened copy of a disk that no guest has open to `path` in `format` (the disk side of a cold snapshot).
   * Rejects with `DiskNotFoundError`. On failure nothing is left at `path`.
   */
  exportDisk(
    instanceUuid: string,
    name: string,
    path: string,
    format: DiskSourceFormat,
    options?: TransferOptions,
  ): Promise<void>;

  /**
   * Keeps a copy-on-write point of all disks of the instance under the label, to which `restore` goes back (resize, rebuild, a failed step).
   * The disks keep their sources and may then be written, grown, removed and made anew. No guest may have them open.
   * Idempotent for the same label, 1 to 64 characters of `[A-Za-z0-9._-]`. On failure the disks are as they were.
   */
  park(instanceUuid: string, label: string): Promise<void>;
  /**
   * Puts the disks back as they were at `park`: their contents, sizes and number. Forgets the label and those parked after it.
   * No guest may have the disks open. Success when the label is unknown.
   */
  restore(instanceUuid: string, label: string): Promise<void>;
  /** Forgets a parked state, keeping the disks as they are now; guests may have them open. Success when the label is unknown. */
  discardParked(instanceUuid: string, label: string): Promise<void>;

  /**
   * Marks shared storage: writes a token that `sees` of another back end on the same storage finds (Nova's `check_instance_shared_storage_*`).
   */
  leaveToken(token: string): Promise<void>;
  seesToken(token: string): Promise<boolean>;
  removeToken(token: string): Promise<void>;

  /**
   * The path of a short-lived file of an operation, on the same file system as the disks: the same for the same name
   * (`[A-Za-z0-9._-]`, 1 to 300 characters), in a directory that is there. The file itself is not made; a directory may be made there as well.
   */
  temporaryPath(name: string): Promise<string>;
  /** Removes what is at such a path, a directory with all that is in it; success when there is nothing. */
  removeTemporary(path: string): Promise<void>;

  capacity(): Promise<DiskCapacity>;
}

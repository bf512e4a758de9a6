/** Making the images of config drives on this host. */
import type { ConfigDriveContent, ConfigDriveFormat } from "./config-drive-content.js";
import type { DiskSource } from "../disks/disk-source.js";
import type { TransferOptions } from "../images/image-store.js";

export interface BuildConfigDriveRequest {
  /** Absolute path of a directory that the builder makes, and whose name is the caller's alone; what is there is removed first. */
  readonly directory: string;
  readonly format: ConfigDriveFormat;
  readonly content: ConfigDriveContent;
}

/** An image below the directory of the request, of format raw. */
export interface ConfigDriveImage {
  readonly path: string;
  readonly sizeBytes: number;
}

export interface ConfigDriveBuilder {
  /**
   * Writes the image of a config drive. What is left in the directory on failure is the caller's to remove.
   * Rejects with `InvalidArgumentError` for content that a drive can't hold, `NotSupportedError` when a program that it needs
   * is not on this host, `DiskFullError` or `StorageError` when the storage fails, `AbortedError`.
   */
  build(request: BuildConfigDriveRequest, options?: TransferOptions): Promise<ConfigDriveImage>;

  /** A drive's bytes as a text, for another host; holds all that the drive holds, the password too. Rejects with `StorageError`. */
  pack(source: DiskSource, options?: TransferOptions): Promise<string>;
  /** The image from such a text. Rejects with `InvalidArgumentError` when it is none, and as `build`. */
  unpack(packed: string, directory: string, options?: TransferOptions): Promise<ConfigDriveImage>;

  /** Random bytes for a guest's entropy. */
  randomBytes(length: number): Uint8Array;
}

/** What a hypervisor opens when it gives a guest a disk. */

export const DISK_SOURCE_FORMATS = ["raw", "qcow2"] as const;
export type DiskSourceFormat = (typeof DISK_SOURCE_FORMATS)[number];

export interface FileDiskSource {
  readonly type: "file";
  /** Absolute path. */
  readonly path: string;
  readonly format: DiskSourceFormat;
}

export interface BlockDiskSource {
  readonly type: "block";
  /** Absolute path of the block device. */
  readonly path: string;
  readonly format: DiskSourceFormat;
}

export interface NbdDiskSource {
  readonly type: "nbd";
  readonly server:
    | { readonly type: "unix"; readonly path: string }
    | { readonly type: "inet"; readonly host: string; readonly port: number };
  readonly exportName: string;
  readonly format: DiskSourceFormat;
}

export type DiskSource = FileDiskSource | BlockDiskSource | NbdDiskSource;

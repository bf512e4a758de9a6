/** Backups at the seam: copies of a running guest's disks as they are at one point in time, whole or only what has changed since an earlier one. */

export interface GuestBackupDisk {
  readonly diskId: string;
  /** Absolute path of the file that is made. */
  readonly path: string;
  readonly format: "raw" | "qcow2";
}

export interface GuestBackupRequest {
  readonly disks: readonly GuestBackupDisk[];
  /** Copy only what has changed since this checkpoint; `qcow2` only. Absent: everything. */
  readonly since?: string;
  /** Set this checkpoint at the point in time, for the next backup. */
  readonly checkpoint?: string;
}

export interface GuestCheckpoint {
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly diskIds: readonly string[];
}

export interface CopyProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

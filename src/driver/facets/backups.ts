/** Files made of a running guest: backups of its disks, a dump of its memory. */
import type { CommonOptions, OperationHandle, OperationOptions } from "../../core/index.js";
import type { DiskSourceFormat } from "../../storage/index.js";
import type { GuestCheckpoint } from "../guest-backup.js";
import type { InstanceRef } from "../instance-spec.js";
import type { MemoryDumpFormat } from "../guest.js";

export interface BackupDisk {
  /** Id of the disk (`listDisks`). */
  readonly diskId: string;
  /** Absolute path of the file that is made; nothing may be there yet. */
  readonly path: string;
  /** Default `qcow2`. */
  readonly format?: DiskSourceFormat;
}

/** Either `disks` or `directory`. */
export interface BackupRequest {
  /** 1 to 256 disks, each with a file of its own. */
  readonly disks?: readonly BackupDisk[];
  /** Absolute path of a directory that is there: all of the instance's own disks go into it, as `<disk id>.qcow2`. */
  readonly directory?: string;
  /** Name of a checkpoint: only what has changed since is copied. With format `qcow2`. Default: everything. */
  readonly since?: string;
  /** Sets a checkpoint of this name at the point in time, for a later `since`. 1 to 64 characters of `[A-Za-z0-9._-]`. */
  readonly checkpoint?: string;
}

export interface BackupOptions extends OperationOptions {
  /**
   * Freeze the guest's file systems by its agent while the point in time is taken. `auto` (default): if the agent answers. `required`: reject with `AgentUnresponsiveError` if not.
   */
  readonly quiesce?: "auto" | "required" | "never";
}

export interface Backup {
  readonly disks: readonly Required<BackupDisk>[];
  readonly since?: string;
  readonly checkpoint?: string;
  /** Whether the guest's file systems were frozen at the point in time. */
  readonly quiesced: boolean;
}

export interface BackupsFacet {
  /**
   * Copies disks of a guest in memory, as they are at one point in time, to new files while it goes on. Phases: `quiesce`, `copy`; abortable until its end.
   * A file stands at its path when it is whole; until then it is beside it, as `<path>.<id>.partial`.
   * The handle's result rejects with `ConflictError` (a file or checkpoint is there already), `CheckpointNotFoundError`, `DiskNotFoundError`, `InvalidStateError` (not in memory, migrating), `DiskFullError`.
   * However it ends the guest's file systems are thawed, and on failure or abort no file and no checkpoint of it is left.
   */
  backup(instance: InstanceRef, request: BackupRequest, options?: BackupOptions): OperationHandle<Backup>;
  /** Oldest first. Of a stopped guest, too. */
  listCheckpoints(instance: Pick<InstanceRef, "uuid">, options?: CommonOptions): Promise<readonly GuestCheckpoint[]>;
  /** Forgets a checkpoint; what has changed since an older one is kept for that. Success when there is none, even if the instance is gone. */
  deleteCheckpoint(instance: InstanceRef, name: string, options?: OperationOptions): Promise<void>;
}

export interface MemoryDump {
  readonly path: string;
  readonly format: MemoryDumpFormat;
}

export interface MemoryDumpFacet {
  /**
   * Writes the memory of a guest, which stands still meanwhile, to a new file for a debugger. Phase `dump`; abortable until its end. The file stands at its absolute path when it is whole.
   * The handle's result rejects with `ConflictError` (something is there), `InvalidStateError` (not in memory), `DiskFullError`. However it ends the guest is as before, and on failure or abort no file is left.
   */
  dumpMemory(
    instance: InstanceRef,
    path: string,
    options?: OperationOptions & { readonly format?: MemoryDumpFormat },
  ): OperationHandle<MemoryDump>;
}

/** Snapshots, checkpoints and backups, in the words of who wants one. */
import type {
  DomainBackup,
  DomainBackupDisksDisk,
  DomainBackupServer,
  DomainCheckpoint,
  DomainSnapshot,
  DomainSnapshotDisksDisk,
} from "../generated/types.gen.js";
import type { Editable } from "../xml-object.js";
import { defined } from "./defined.js";

/** A snapshot of a domain. */
export interface SnapshotOptions {
  readonly name?: string | undefined;
  readonly description?: string | undefined;
  /** By target (`vda`): the file that takes what is written from now on, `internal`, or `no` for a disk to leave out. */
  readonly disks?:
    | Readonly<Record<string, { readonly file: string; readonly format?: string | undefined } | "internal" | "no">>
    | undefined;
  /** The file for the memory, or `no`. Default: libvirt's. */
  readonly memory?: { readonly file: string } | "internal" | "no" | undefined;
}

/** The document `<domainsnapshot>`. */
export function domainSnapshotXml({ name, description, disks, memory }: SnapshotOptions): Editable<DomainSnapshot> {
  const disk = Object.entries(disks ?? {}).map(([target, choice]): DomainSnapshotDisksDisk => {
    if (typeof choice === "string") return { name: target, snapshot: choice };
    return {
      name: target,
      snapshot: "external",
      type: "file",
      driver: { type: choice.format ?? "qcow2" },
      source: { file: choice.file },
    };
  });
  const kept =
    typeof memory === "object" ? { snapshot: "external", file: memory.file } : memory && { snapshot: memory };
  return defined<DomainSnapshot>({ name, description, memory: kept, disks: disk.length === 0 ? undefined : { disk } });
}

/** A checkpoint of a domain: from now on it is noted what changes. */
export interface CheckpointOptions {
  readonly name?: string | undefined;
  readonly description?: string | undefined;
  /** By target (`vda`): whether changes are noted. Default: of all disks. */
  readonly disks?: Readonly<Record<string, boolean>> | undefined;
}

/** The document `<domaincheckpoint>`. */
export function domainCheckpointXml({ name, description, disks }: CheckpointOptions): Editable<DomainCheckpoint> {
  const disk = Object.entries(disks ?? {}).map(([target, isNoted]) => ({
    name: target,
    checkpoint: isNoted ? "bitmap" : "no",
  }));
  return defined<DomainCheckpoint>({ name, description, disks: disk.length === 0 ? undefined : { disk } });
}

/** A backup of a running domain. */
export type BackupOptions = {
  /** The checkpoint since which changes are wanted. Default: everything. */
  readonly since?: string | undefined;
} & (
  | {
      readonly mode: "push";
      /** By target (`vda`): the file that the backup is written to. */
      readonly disks: Readonly<Record<string, { readonly file: string; readonly format?: string | undefined }>>;
    }
  | {
      readonly mode: "pull";
      /** Where an NBD server offers the disks. */
      readonly server: { readonly socket: string } | { readonly host: string; readonly port: number };
      /** By target (`vda`): the file that keeps what is overwritten meanwhile. */
      readonly disks: Readonly<Record<string, { readonly scratchFile: string }>>;
    }
);

/** The document `<domainbackup>`. */
export function domainBackupXml(options: BackupOptions): Editable<DomainBackup> {
  const { mode, since: incremental } = options;
  if (options.mode === "push") {
    const disk = Object.entries(options.disks).map(([name, { file, format = "qcow2" }]) => ({
      ...backedUp(name),
      driver: { type: format },
      target: { file },
    }));
    return defined<DomainBackup>({ mode, incremental, disks: { disk } });
  }
  const disk = Object.entries(options.disks).map(([name, { scratchFile }]) => ({
    ...backedUp(name),
    scratch: { file: scratchFile },
  }));
  return defined<DomainBackup>({ mode, incremental, server: serverOf(options.server), disks: { disk } });
}

function backedUp(name: string): DomainBackupDisksDisk {
  return { name, backup: "yes", type: "file" };
}

function serverOf(server: { socket: string } | { host: string; port: number }): DomainBackupServer {
  if ("socket" in server) return { transport: "unix", socket: server.socket };
  return { transport: "tcp", name: server.host, port: server.port };
}

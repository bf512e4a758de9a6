/** A simulated domain: its definitions, its state, and what is under way with it. */
import { DomainState } from "../../../libvirt/rpc/index.js";
import type { LibvirtProtocol, TypedParameter } from "../../../libvirt/rpc/index.js";
import type { TimerHandle } from "../../../core/index.js";
import type { parseDomainBackupXml, parseDomainXml } from "../../../libvirt/xml/index.js";
import type { FakeLibvirtStream } from "../fake-libvirt-stream.js";

/** A domain's definition, to be changed in place. */
export type DomainDocument = ReturnType<typeof parseDomainXml>;
export type DomainReference = LibvirtProtocol.RemoteDomain;

/** What was saved of a domain that is not running. */
export interface SavedImage {
  readonly document: DomainDocument;
  readonly wasRunning: boolean;
}

export interface SnapshotRecord {
  readonly name: string;
  readonly parent: string | undefined;
  readonly description: string | undefined;
  readonly createdAt: number;
  /** What the domain was then. */
  readonly state: number;
  readonly document: DomainDocument;
  /** Without the memory: new files took the place of the disks. */
  readonly diskOnly: boolean;
}

/** A block job, by the disk's target. */
export interface BlockJob {
  readonly target: string;
  readonly type: number;
  /** What the disk becomes when a copy or an active commit is pivoted to. */
  readonly apply: (pivot: boolean) => void;
  /** Whether it stays at its end until it is told to pivot or to stop. */
  readonly waits: boolean;
  readonly startedAt: number;
  readonly lengthBytes: bigint;
  ready: boolean;
  bandwidth: bigint;
}

/** A point in time since which a guest's writes are known. */
export interface CheckpointRecord {
  readonly name: string;
  readonly parent: string | undefined;
  readonly description: string | undefined;
  readonly createdAt: number;
  readonly document: DomainDocument;
  readonly disks: readonly string[];
}

/** A job of the whole domain: only one at a time. */
export interface DomainJob {
  readonly kind: "migration" | "backup";
  readonly startedAt: number;
  /** How long it takes. */
  readonly lastsMs: number;
  readonly totalBytes: bigint;
  /** Whose connection it ends with, unless it moves. */
  readonly client?: number | undefined;
  abort?: (() => void) | undefined;
  /** Lets it be through at once: the rest follows when the guest runs elsewhere. */
  switchOver?: (() => void) | undefined;
}

/** A migration that comes in. */
export interface Arrival {
  /** Whose connection it ends with; undefined when the other host's daemon drives it. */
  readonly client: number | undefined;
  /** Whether the guest's memory is here. */
  arrived: boolean;
}

export class DomainRecord {
  readonly uuid: string;
  name: string;
  id = -1;
  /** What it is when it is started the next time; undefined for a transient one. */
  persistent: DomainDocument | undefined;
  /** What it is now; undefined while it is off. */
  live: DomainDocument | undefined;
  state: number = DomainState.shutoff;
  reason = 0;
  autostart = false;
  autostartOnce = false;
  saved: SavedImage | undefined;
  startedAt = 0;
  /** Whether the guest's operating system is up. */
  booted = false;
  frozenFilesystems = 0;
  /** Processors that the guest itself has turned off. */
  readonly offlineVcpus = new Set<number>();
  /** Keys that may log in, by user. */
  readonly sshKeys = new Map<string, readonly string[]>();
  /** The client with whose connection it ends. */
  autodestroy: number | undefined;
  job: DomainJob | undefined;
  /** What its last job came to, for whoever asks once. */
  completedJob: readonly TypedParameter[] | undefined;
  /** A migration comes in; it can't be touched yet. */
  incoming: Arrival | undefined;
  /** Milliseconds. */
  maxDowntime = 300n;
  /** Mebibytes a second. */
  maxSpeed: bigint | undefined;
  compressionCacheBytes = 67_108_864n;
  currentCheckpoint: string | undefined;
  readonly checkpoints = new Map<string, CheckpointRecord>();
  /** What is being backed up. */
  backup: ReturnType<typeof parseDomainBackupXml> | undefined;
  currentSnapshot: string | undefined;
  readonly snapshots = new Map<string, SnapshotRecord>();
  readonly blockJobs = new Map<string, BlockJob>();
  readonly consoles = new Set<FakeLibvirtStream>();
  /** Timers that end with the guest. */
  readonly timers = new Set<TimerHandle>();
  /** Devices that the guest was asked to let go, by alias. */
  readonly unplugging = new Set<string>();

  constructor(uuid: string, name: string) {
    this.uuid = uuid;
    this.name = name;
  }

  get active(): boolean {
    return this.live !== undefined;
  }

  get reference(): DomainReference {
    return { name: this.name, uuid: this.uuid, id: this.id };
  }

  /** The definition that holds now. */
  get document(): DomainDocument {
    const document = this.live ?? this.persistent;
    if (document === undefined) throw new TypeError(`the domain ${this.name} is gone`);
    return document;
  }
}

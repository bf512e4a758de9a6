/** The guest half of the seam: what a hypervisor can do to one guest. Each call is one mechanism; order and undoing are the choreography's. */
import type { Duplex } from "node:stream";
import type { CommonOptions, JsonObject, Secret } from "../core/index.js";
import type { DiskSource, DiskSourceFormat } from "../storage/index.js";
import type { ConsoleAddress, ConsoleLog, Screenshot } from "./console.js";
import type { DiskStatistics, GuestStatistics, InterfaceStatistics } from "./statistics.js";
import type { CopyProgress, GuestBackupRequest, GuestCheckpoint } from "./guest-backup.js";
import type { DiskLimits } from "./disk-tuning.js";
import type { GuestDevice } from "./guest-hardware.js";
import type { GuestDefinition, GuestDisk, GuestNic } from "./guest-definition.js";
import type { InjectedFile } from "./instance-spec.js";
import type { GuestTemplate, GuestTemplatePhase, GuestTemplateRequest, GuestTemplateState } from "./guest-template.js";
import type { GuestMigrationOptions, GuestMigrationRequest, MigrationOutcome } from "./guest-migration.js";
import type { PowerState } from "./power-state.js";

export interface GuestInfo {
  readonly state: PowerState;
  /** True when the answer is the last known one because the guest's hypervisor process does not answer. */
  readonly stale: boolean;
  readonly memoryMiB: number;
  readonly vcpus: number;
  /** CPU time used so far, nanoseconds; absent where unknown. */
  readonly cpuTimeNs?: bigint;
  /** Milliseconds since the epoch at which the guest was started; absent when it is not in memory. */
  readonly startedAt?: number;
}

/** Where a guest finds one of its devices. */
export interface DeviceAddress {
  readonly type: "disk" | "nic";
  readonly id: string;
  /** `pci`, `scsi`, `sata`, `ide`, `usb`, `fdc`, `virtio-mmio`. */
  readonly bus: string;
  /** `0000:01:00.0` on PCI, `0:0:0:5` (controller, bus, target, unit) of drives. */
  readonly address: string;
}

/** `elf`: plain. The others are kdump's compressed ones. */
export type MemoryDumpFormat = "elf" | "kdump-zlib" | "kdump-lzo" | "kdump-snappy";

/** How a request to take a device out of a guest ended. `refused`: the guest said no. `pending`: it has not answered in time and may still let go. */
export type DetachOutcome = "detached" | "absent" | "refused" | "pending";

export interface DetachOptions extends CommonOptions {
  /** Longest wait for the guest to let go. */
  readonly timeoutMs: number;
}

/** A stopping of vCPUs, memory kept. Feature `suspend`. */
export interface GuestSuspend {
  /** Saves memory to disk and stops; on failure or abort the guest runs on (or stays paused) as before and no file is left. */
  save(options?: CommonOptions): Promise<void>;
  /** Starts from the saved memory, which is gone afterwards; on failure it is kept. */
  restore(options?: CommonOptions): Promise<void>;
  /** Forgets the saved memory. Success when there is none. */
  discard(): Promise<void>;
}

/** What a QEMU guest agent in the guest does for us. Feature `guestAgent`. All reject with `AgentUnresponsiveError` when it does not answer. */
export interface GuestAgent {
  /** The administrator's name in the guest. Absent: `root`. */
  readonly adminUser?: string;
  ping(options?: CommonOptions): Promise<void>;
  setPassword(user: string, password: Secret, options?: CommonOptions): Promise<void>;
  writeFile(path: string, contents: Uint8Array, options?: CommonOptions): Promise<void>;
  readFile(path: string, options: CommonOptions & { readonly maxBytes: number }): Promise<Uint8Array>;
  exec(
    argv: readonly string[],
    options?: CommonOptions & { readonly input?: Uint8Array },
  ): Promise<{ readonly exitCode: number; readonly stdout: Uint8Array; readonly stderr: Uint8Array }>;
  interfaces(
    options?: CommonOptions,
  ): Promise<readonly { readonly name: string; readonly macAddress?: string; readonly addresses: readonly string[] }[]>;
  /** Freezes file systems; returns how many. The hypervisor thaws them again when the driver process is lost for longer than its freeze limit, where it can. */
  freeze(options?: CommonOptions): Promise<number>;
  /** Thaws; success when nothing is frozen. */
  thaw(options?: CommonOptions): Promise<void>;
}

/** What is put into a guest before its first start. */
export interface GuestInjection {
  readonly adminPassword?: Secret;
  readonly files: readonly InjectedFile[];
}

export interface Guest {
  readonly uuid: string;
  readonly name: string;

  /** As last defined or hot-plugged. */
  definition(): Promise<GuestDefinition>;

  /** Never waits longer than the hypervisor's query limit; then answers with `stale`. */
  info(options?: CommonOptions): Promise<GuestInfo>;

  /** Where the guest finds its disks and NICs, or will when it starts. Never waits longer than the query limit. Optional: without it nobody knows. */
  deviceAddresses?(options?: CommonOptions): Promise<readonly DeviceAddress[]>;

  /** Brings the defined guest into memory; resolves when it runs, or stands paused. Rejects with `InvalidStateError` when it is in memory already. On failure nothing is left running. */
  start(options?: CommonOptions & { readonly paused?: boolean }): Promise<void>;

  /** Asks the guest's operating system to power off (ACPI) and resolves at once; the end is a `stopped` event. */
  requestShutdown(options?: CommonOptions): Promise<void>;

  /** Takes the guest out of memory hard; resolves when nothing of it runs. Success when it is not in memory. */
  kill(options?: CommonOptions): Promise<void>;

  /** Resolves when the guest is not in memory (at once if so). Rejects on abort or deadline. Waits on events, never polls. */
  waitUntilStopped(options: CommonOptions): Promise<void>;

  /** Stops the vCPUs; success when stopped. Feature `pause`. */
  pause(options?: CommonOptions): Promise<void>;
  /** Lets the vCPUs run; success when they do. Feature `pause`. */
  resume(options?: CommonOptions): Promise<void>;
  /** As the reset button. Feature `reset`. */
  reset(options?: CommonOptions): Promise<void>;

  /** Gives the guest a disk, durably, and live when it is in memory. Rejects with `ConflictError` or `NoFreeSlotError`. On failure nothing is left. Feature `hotplugDisk` for live guests. */
  attachDisk(disk: GuestDisk, options?: CommonOptions): Promise<void>;
  /** Takes a disk out, durably, once the guest has let go. A second call while the first is pending goes on waiting for it. */
  detachDisk(diskId: string, options: DetachOptions): Promise<DetachOutcome>;
  attachNic(nic: GuestNic, options?: CommonOptions): Promise<void>;
  detachNic(nicId: string, options: DetachOptions): Promise<DetachOutcome>;

  /** Tells a guest in memory that a disk has grown to `sizeBytes`. Feature `resizeDisk`. */
  resizeDisk?(diskId: string, sizeBytes: number, options?: CommonOptions): Promise<void>;
  /** Copies a disk to `target` under the running guest and goes over to it. On failure or abort the guest keeps the old one. Feature `mirrorDisk`. */
  mirrorDisk?(diskId: string, target: DiskSource, options?: CommonOptions): Promise<void>;
  /**
   * Writes a flattened copy of a disk of a guest in memory, as it is at one point in time, to a new file. `onPointInTime` is called once the point is fixed: what the guest
   * writes from then on is not in the copy. On failure the file is removed. Feature `liveDiskCopy`.
   */
  copyDisk?(
    diskId: string,
    path: string,
    format: DiskSourceFormat,
    options?: CommonOptions & { readonly onPointInTime?: () => void },
  ): Promise<void>;
  /** Puts an overlay (an existing file that refers to the present one) on a disk. Feature `diskSnapshot`. */
  snapshotDisk?(diskId: string, overlay: DiskSource, options?: CommonOptions): Promise<void>;
  /** Merges the overlay back into what it is based on. Feature `diskSnapshot`. */
  commitDisk?(diskId: string, base: DiskSource, options?: CommonOptions): Promise<void>;
  /** Copies what is between `base` and the disk's present file into that file, which is based on `base` then; without `base`, on nothing. Feature `diskSnapshot`. */
  pullDisk?(diskId: string, base: DiskSource | undefined, options?: CommonOptions): Promise<void>;

  /**
   * Copies disks of a guest in memory as they are at one point in time. `onPointInTime` is called once the point is fixed. On failure or abort the files are removed
   * and no checkpoint is set. Rejects with `CheckpointNotFoundError`. Feature `backup`.
   */
  backup?(
    request: GuestBackupRequest,
    options?: CommonOptions & {
      readonly onPointInTime?: () => void;
      readonly onCopyProgress?: (progress: CopyProgress) => void;
    },
  ): Promise<void>;
  /** Feature `backup`. */
  checkpoints?(options?: CommonOptions): Promise<readonly GuestCheckpoint[]>;
  /** Success when there is none of the name. Feature `backup`. */
  deleteCheckpoint?(name: string, options?: CommonOptions): Promise<void>;

  /** Puts another medium into a drive, durably; `undefined`: takes it out. Rejects with `DeviceDetachError` when the guest has locked the drive, unless `force`. Feature `changeMedium`. */
  changeMedium?(
    diskId: string,
    source: DiskSource | undefined,
    options?: CommonOptions & { readonly force?: boolean },
  ): Promise<void>;
  /** Sets what the guest may do to a disk, durably, at once where it is in memory. Feature `limitDisk`. */
  limitDisk?(diskId: string, limits: DiskLimits, options?: CommonOptions): Promise<void>;

  /**
   * Gives a guest vCPUs or takes some, durably, at once where it is in memory: 1 to `maxVcpus`. Rejects with `InvalidArgumentError`, with `DeviceDetachError` when the
   * guest does not let go of one in time. On failure the definition says what the guest has. Feature `hotplugVcpu`.
   */
  setVcpus?(vcpus: number, options?: CommonOptions): Promise<void>;
  /**
   * Gives a guest memory or takes plugged memory back, durably, at once where it is in memory. Rejects with `InvalidArgumentError`, `NoFreeSlotError`, and with `DeviceDetachError` when the
   * guest does not let go in time. On failure the definition says what the guest has. Feature `hotplugMemory`.
   */
  setMemory?(memoryMiB: number, options?: CommonOptions): Promise<void>;
  /** Asks a guest in memory to use no more than this of its memory. Resolves when the guest was asked; it may take long or never comply. Feature `balloon`. */
  setBalloon?(memoryMiB: number, options?: CommonOptions): Promise<void>;

  /** Gives the guest a device, durably, and live when it is in memory. Feature `hotplugDevice`. */
  attachDevice?(device: GuestDevice, options?: CommonOptions): Promise<void>;
  /** As `detachDisk`. Feature `hotplugDevice`. */
  detachDevice?(id: string, options: DetachOptions): Promise<DetachOutcome>;

  /** Sets the password of a graphical console of a guest in memory; never kept. Rejects with `ConsoleUnavailableError` when the guest has none of the kind. Feature `consolePassword`. */
  setConsolePassword?(
    kind: "vnc" | "spice",
    password: Secret,
    options?: CommonOptions & { readonly validMs?: number },
  ): Promise<void>;

  /** Writes the guest's memory to a new file for a debugger; the guest stands still meanwhile. On failure or abort the file is removed. Feature `dumpMemory`. */
  dumpMemory?(
    path: string,
    format: MemoryDumpFormat,
    options?: CommonOptions & { readonly onCopyProgress?: (progress: CopyProgress) => void },
  ): Promise<void>;

  /**
   * Writes the guest's memory and disks, as they are at one point in time, to new files, for guests that start from them. The guest stands still for no longer than its memory takes, then runs on (or
   * stays paused). `onPhase` is called when each of the two begins, in whichever order. The disks' files refer to no others. On failure or abort the files are removed and the guest is as before.
   * Feature `template`.
   */
  saveTemplate?(
    request: GuestTemplateRequest,
    options?: CommonOptions & {
      readonly onPhase?: (phase: GuestTemplatePhase) => void;
      readonly onCopyProgress?: (progress: CopyProgress) => void;
    },
  ): Promise<GuestTemplateState>;
  /**
   * Brings the defined guest, which was never started, into memory as the template's guest was when it was saved; resolves when it runs. Its definition differs from the template's in no more than uuid, name, the disks' and
   * NICs' ids, sources, back ends and MAC addresses, all of which the guest has when this resolves. The template's files are only read. On failure nothing is left running. Feature `template`.
   */
  startFromTemplate?(template: GuestTemplate, options?: CommonOptions): Promise<void>;

  /** Puts a password and files into a guest that was never started; gone with `undefine`. Feature `injectAtSpawn`. */
  inject?(injection: GuestInjection, options?: CommonOptions): Promise<void>;

  readonly suspend?: GuestSuspend;
  readonly agent?: GuestAgent;

  /** The last bytes that the guest wrote to its console. Feature `consoleLog`. */
  consoleLog?(options: CommonOptions & { readonly maxBytes: number }): Promise<ConsoleLog>;
  /** Both directions of the guest's serial console. Feature `consoleStream`. */
  openConsole?(options?: CommonOptions): Promise<Duplex>;
  /** Where a graphical or serial console listens. Features `vncConsole`, `spiceConsole`, `serialConsole`. Rejects with `ConsoleUnavailableError`. */
  consoleAddress?(kind: "vnc" | "spice" | "serial", options?: CommonOptions): Promise<ConsoleAddress>;
  /** Feature `screenshot`. */
  screenshot?(options?: CommonOptions): Promise<Screenshot>;

  /** Feature `statistics`. */
  statistics?(options?: CommonOptions): Promise<GuestStatistics>;
  diskStatistics?(diskId: string, options?: CommonOptions): Promise<DiskStatistics>;
  interfaceStatistics?(nicId: string, options?: CommonOptions): Promise<InterfaceStatistics>;

  /** Sends a non-maskable interrupt, so that the guest dumps its core. Feature `crashDump`. */
  injectNmi?(options?: CommonOptions): Promise<void>;

  /** What a destination has to know of the guest to receive it; plain data. Feature `migration`, where the definition does not say all. */
  describeMigration?(): Promise<JsonObject>;
  /**
   * Migrates to the destination that gave the token; resolves when it is over, however it ended, or rejects with `MigrationError`, which says why it failed: then the guest is here as before.
   * Abort by `abortMigration`. Feature `migration`.
   */
  migrate?(request: GuestMigrationRequest, options?: GuestMigrationOptions): Promise<MigrationOutcome>;
  /** Success when no migration is under way. Rejects with `ConflictError` once the guest is being handed over. */
  abortMigration?(options?: CommonOptions): Promise<void>;
  /**
   * How the guest's migration ended, also one that an earlier process began: what can be ended is ended, what can't is waited for. Undefined when the guest is not leaving and has not left.
   * Without it, a guest that is shut down after a migration counts as gone.
   */
  migrationOutcome?(options?: CommonOptions): Promise<MigrationOutcome | undefined>;
  /**
   * Takes back a guest that has gone: it runs on here from where it was handed over, or counts as crashed where that is lost. Success when it has not gone. Only for when the destination is
   * rid of it, and it has not run there: else there are two of it.
   */
  reclaimMigration?(options?: CommonOptions): Promise<void>;
  /** Makes a migration end: by post-copy, or by pausing the guest. Rejects with `NoActiveMigrationError`. */
  forceCompleteMigration?(mode: "postcopy" | "pause", options?: CommonOptions): Promise<void>;
}

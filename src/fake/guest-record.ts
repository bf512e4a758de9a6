/** What the world knows of one guest on one host. The first half is plain data that a snapshot of the world keeps. */
import type { TimerHandle } from "../core/index.js";
import type { DetachOutcome, GuestDefinition, PowerState } from "../driver/index.js";

/** What a guest will do at a moment to come. */
export type GuestAction =
  | { readonly type: "booted" | "shutdown" | "crash" | "powerOff" | "reboot" | "thaw" }
  | { readonly type: "release" | "refuse"; readonly device: "disk" | "nic" | "device"; readonly id: string };

export interface PlannedAction {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly action: GuestAction;
}

export interface SavedMemory {
  readonly path: string;
  /** The guest stood paused when it was saved. */
  readonly paused: boolean;
  /** The operating system was up. */
  readonly booted: boolean;
}

/** What few guests have; made when it is first needed, so that the many stay small. */
export interface GuestExtras {
  /** What will happen to it. */
  agenda: PlannedAction[];
  /** What was due while its vCPUs stood still, and happens when they run again. */
  deferred: GuestAction[];
  /** What its console has shown: `boot` stands for the whole text of a boot. */
  console: string[];
  /** Files that its agent has written: path to base64. */
  files: Record<string, string>;
  /** SHA-256 of uuid, user and password; the passwords themselves are kept nowhere. */
  passwordHashes: Record<string, string>;
  frozen: boolean;
  savedMemory?: SavedMemory;
  /** Sizes that the guest was told, by disk id, where they differ from what the disk had at the start. */
  diskSizes: Record<string, number>;
  /** Console ports by kind. */
  ports: Record<string, number>;
  /** What it had when it was started, once that has changed. */
  startedWith?: { readonly vcpus: number; readonly memoryMiB: number };
  /** What the balloon leaves it. */
  balloonMiB?: number;
  /** SHA-256 of passwords of consoles by kind, and until when they hold. */
  consolePasswords?: Record<string, { readonly hash: string; readonly until: number }>;
  /** Checkpoints by name: when they were set, and how much each disk held. */
  checkpoints?: Record<string, { readonly createdAt: number; readonly disks: Readonly<Record<string, number>> }>;
}

/** Something that lives as long as the guest is in memory. */
export interface GuestCompanion {
  guestEnded(): void;
}

export interface GuestRecord {
  definition: GuestDefinition;
  state: Exclude<PowerState, "nostate">;
  /** Waits for a migration, or has arrived by one and is not yet taken over. */
  incoming: "waiting" | "arrived" | undefined;
  /** Milliseconds since the epoch; undefined while not in memory. */
  startedAt: number | undefined;
  /** When its vCPUs last began to run; undefined while they don't. */
  runningSince: number | undefined;
  /** How long they have run since the start, up to `runningSince`. */
  ranMs: number;
  /** The operating system is up. */
  booted: boolean;
  /** Boots since it was defined. */
  boots: number;
  extras: GuestExtras | undefined;

  /** Woken at every change; not part of a snapshot. */
  change: { readonly promise: Promise<void>; readonly wake: () => void } | undefined;
  timers: Set<TimerHandle> | undefined;
  /** Who waits for the guest to let go of a device, by `disk:<id>`, `nic:<id>` and `device:<id>`. */
  detaching: Map<string, Set<(outcome: DetachOutcome) => void>> | undefined;
  companions: Set<GuestCompanion> | undefined;
  /** The hypervisor's process of the guest does not answer. */
  hung: boolean;
}

export function newGuestRecord(definition: GuestDefinition): GuestRecord {
  return {
    definition,
    state: "shutdown",
    incoming: undefined,
    startedAt: undefined,
    runningSince: undefined,
    ranMs: 0,
    booted: false,
    boots: 0,
    extras: undefined,
    change: undefined,
    timers: undefined,
    detaching: undefined,
    companions: undefined,
    hung: false,
  };
}

/** More than these of a guest's console are forgotten, oldest first. */
export const CONSOLE_ENTRIES = 256;

/** The rarely used half, made now if need be. */
export function extrasOf(record: GuestRecord): GuestExtras {
  return (record.extras ??= {
    agenda: [],
    deferred: [],
    console: Array.from({ length: Math.min(record.boots, CONSOLE_ENTRIES) }, () => "boot"),
    files: {},
    passwordHashes: {},
    frozen: false,
    diskSizes: {},
    ports: {},
  });
}

/** Has the guest write something to its console: a text, or the name of what happened. */
export function print(record: GuestRecord, entry: string): void {
  const entries = extrasOf(record).console;
  entries.push(entry);
  if (entries.length > CONSOLE_ENTRIES) entries.shift();
}

export function inMemory(record: GuestRecord): boolean {
  return record.state === "running" || record.state === "paused";
}

/** Milliseconds that the vCPUs have run since the start. */
export function ranMs(record: GuestRecord, now: number): number {
  return record.ranMs + (record.runningSince === undefined ? 0 : now - record.runningSince);
}

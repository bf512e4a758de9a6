/** What is kept durably of a guest that is on its way from one host to another: who may run it. */
import { check } from "../../core/index.js";
import type { Check, JsonValue } from "../../core/index.js";

/**
 * The source's side. `outgoing`: the guest is here, and nothing that happens elsewhere can change that. `switchover`: QEMU was, or was about to be, told to hand it over;
 * what became of that only QEMU knows. `departed`: it has been handed over and must not run here, unless the destination is rid of it.
 */
export interface OutgoingRecord {
  readonly role: "source";
  readonly phase: "outgoing" | "switchover" | "departed";
  /** Whether its vCPUs ran before. */
  readonly wasRunning: boolean;
  /** QEMU's ids of the disks that are copied. */
  readonly copied: readonly string[];
  /** What the destination gave: how it is reached again when the connection breaks after the guest has begun to run there. */
  readonly token?: JsonValue;
  /** The token's place where QEMU reached the destination last; the first by default. */
  readonly reachedAt?: "memory" | "recovery";
  /** The guest has begun to run on the destination without all of its memory: it never comes back. */
  readonly postcopy?: boolean;
}

/** The destination's side. `waiting`: the guest has not run here. `taken`: it was, or was about to be, told to run. */
export interface IncomingRecord {
  readonly role: "destination";
  readonly phase: "waiting" | "taken";
  /** It is to stand still when it has come. */
  readonly paused: boolean;
  /** Where QEMU waits for its memory, in QEMU's own terms; absent until it does. */
  readonly uri?: string;
  /** Where it will wait next, when a connection has broken; the same by default. */
  readonly nextUri?: string;
}

export type MigrationRecord = OutgoingRecord | IncomingRecord;

export const migrationCheck: Check<MigrationRecord> = check.variants("role", {
  source: check.object({
    role: check.oneOf(["source"]),
    phase: check.oneOf(["outgoing", "switchover", "departed"]),
    wasRunning: check.boolean(),
    copied: check.array(check.string({ max: 64, charset: "name" }), { max: 256 }),
    token: check.optional(check.json({ maxBytes: 65_536 })),
    reachedAt: check.optional(check.oneOf(["memory", "recovery"])),
    postcopy: check.optional(check.boolean()),
  }),
  destination: check.object({
    role: check.oneOf(["destination"]),
    phase: check.oneOf(["waiting", "taken"]),
    paused: check.boolean(),
    uri: check.optional(check.string({ max: 4_096, charset: "ascii" })),
    nextUri: check.optional(check.string({ max: 4_096, charset: "ascii" })),
  }),
});

/** What is left of a migration when the guest's process has ended. A guest that may have been handed over counts as handed over. */
export function afterEnd(record: MigrationRecord | undefined): MigrationRecord | undefined {
  if (record === undefined) return undefined;
  if (record.role === "destination") return record.phase === "waiting" ? record : undefined;
  return record.phase === "outgoing" ? undefined : { ...record, phase: "departed" };
}

/** Whether the guest may no longer run on this host. */
export function isDeparted(record: MigrationRecord | undefined): boolean {
  return record?.role === "source" && record.phase === "departed";
}

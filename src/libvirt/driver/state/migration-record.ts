/** What is kept durably of a guest that is on its way from one host to another: who may run it. */
import { check } from "../../../core/index.js";
import type { Check, JsonObject } from "../../../core/index.js";

/**
 * The source's side. `outgoing`: the guest is here, and nothing that happens elsewhere can change that. `switchover`: the destination's daemon was, or was about to be, told to run it;
 * what became of that only the destination knows. `departed`: it runs there and must not run here.
 */
export interface OutgoingRecord {
  readonly role: "source";
  readonly phase: "outgoing" | "switchover" | "departed";
  /** Whether its vCPUs ran before. */
  readonly wasRunning: boolean;
  /** Where the destination's daemon is reached. */
  readonly connectionUri: string;
  /** It has gone over by post-copy, or was about to: it never comes back. */
  readonly postcopy?: boolean;
  /** With `postcopy`: what the destination gave, by which another link to it can be made. */
  readonly token?: JsonObject;
}

/** The destination's side, until the guest has come: libvirt has made no definition of it permanent yet. */
export interface IncomingRecord {
  readonly role: "destination";
  /** It is to stand still when it has come. */
  readonly paused: boolean;
}

export type MigrationRecord = OutgoingRecord | IncomingRecord;

export const migrationCheck: Check<MigrationRecord> = check.variants("role", {
  source: check.object({
    role: check.oneOf(["source"]),
    phase: check.oneOf(["outgoing", "switchover", "departed"]),
    wasRunning: check.boolean(),
    connectionUri: check.string({ max: 4_096, charset: "ascii" }),
    postcopy: check.optional(check.boolean()),
    token: check.optional(check.json() as unknown as Check<JsonObject>),
  }),
  destination: check.object({ role: check.oneOf(["destination"]), paused: check.boolean() }),
});

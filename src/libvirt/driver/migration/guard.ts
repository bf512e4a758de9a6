/** Who may run a guest: what must not be done to one that is on its way to another host, has gone there, or has not come yet. */
import { InvalidStateError } from "../../../driver/index.js";
import type { GuestCore } from "../guest-core.js";
import { followed } from "./moving.js";
import type { GuestState } from "../state/guest-state.js";
import type { IncomingRecord, MigrationRecord, OutgoingRecord } from "../state/migration-record.js";

/** The record of a guest that is leaving or has left. */
export function outgoingOf({ state }: Pick<GuestCore, "state">): OutgoingRecord | undefined {
  return state.migration?.role === "source" ? state.migration : undefined;
}

/** Whether a guest runs on its destination, although its memory may still be here. */
export function hasGone(core: GuestCore): boolean {
  return followed.has(core) || outgoingOf(core)?.phase === "departed";
}

/** The record of a guest that is waited for. */
export function incomingOf({ state }: Pick<GuestCore, "state">): IncomingRecord | undefined {
  return state.migration?.role === "destination" ? state.migration : undefined;
}

/** The state with another record, or without. */
export function withMigration(state: GuestState, migration: MigrationRecord | undefined): GuestState {
  const { migration: _, ...rest } = state;
  return migration === undefined ? rest : { ...rest, migration };
}

/** @throws InvalidStateError for a guest that was handed over to another host, or has not come yet: running it here might be a second copy of it */
export function requireHere(core: GuestCore, operation: string): void {
  const record = outgoingOf(core);
  const away = record !== undefined && record.phase !== "outgoing";
  if (!away && incomingOf(core) === undefined) return;
  throw new InvalidStateError({
    operation,
    state: away ? "migratedAway" : "migratingIn",
    expected: ["running", "paused", "shutdown"],
    instance: core.instance,
  });
}

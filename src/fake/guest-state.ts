/** Which states of a guest an operation starts from. */
import { InvalidStateError } from "../driver/index.js";
import type { GuestRecord } from "./guest-record.js";

/** @throws InvalidStateError that says how the guest stands. */
export function requireState(record: GuestRecord, operation: string, expected: readonly GuestRecord["state"][]): void {
  const waits = record.incoming === "waiting" && expected.includes("paused");
  if (!waits && expected.includes(record.state)) return;
  const state = waits ? "migratingIn" : record.state;
  throw new InvalidStateError({ operation, state, expected, instance: record.definition });
}

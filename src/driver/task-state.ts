/** Operations that an instance does not take while something else is going on with it. */
import type { InstanceRecord } from "./instance-record.js";
import type { InstanceTask } from "./results.js";
import { InvalidStateError } from "./errors.js";

/** What is going on with an instance beside its power state. Pure. */
export function taskOf(record: InstanceRecord): InstanceTask {
  if (record.migration !== undefined) return record.migration.role === "source" ? "migratingOut" : "migratingIn";
  if (record.rescue !== undefined) return "rescued";
  return record.resize === undefined ? "none" : "resized";
}

/** @throws InvalidStateError when the instance is rescued, resized or migrating: its way back would not know of the change. */
export function requireNoTask(record: InstanceRecord, operation: string): void {
  const state = taskOf(record);
  if (state === "none") return;
  const { uuid, name } = record;
  throw new InvalidStateError({ operation, state, expected: ["none"], instance: { uuid, name } });
}

/** @throws InvalidStateError while the instance is being migrated. */
export function requireNotMigrating(record: InstanceRecord, operation: string): void {
  if (record.migration !== undefined) requireNoTask(record, operation);
}

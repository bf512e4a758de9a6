/** What the journal keeps of an operation under way. */
import { cloneJsonObject } from "./clone-json.js";
import { StateCorruptError } from "./common-errors.js";
import type { JsonObject, JsonValue } from "./json.js";

/** What undoes one effect, as data: which undo, and what it has to know. */
export interface EffectRecord {
  readonly kind: string;
  readonly data: JsonObject;
}

/** An operation that was begun and has not ended, as a new process finds it. */
export interface OperationRecord {
  readonly id: string;
  /** What is being done: `spawn`, `attachVolume`, … */
  readonly kind: string;
  readonly instanceUuid?: string;
  readonly params: JsonObject;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  /** Counts the operations of one process, to order those that began in the same millisecond. */
  readonly sequence: number;
  readonly phase: string;
  /** Whether the point of no return was passed: then it is to be completed, otherwise undone. */
  readonly committed: boolean;
  /** In the order in which they were announced; the last may not have happened, or only half-way. */
  readonly effects: readonly EffectRecord[];
}

const VERSION = 1;

/** The record as it is stored. */
export function encodeOperation(record: OperationRecord): JsonObject {
  return cloneJsonObject({ version: VERSION, ...record }, "operation");
}

/** @throws StateCorruptError when the value is not a record of a known version. */
export function decodeOperation(key: string, value: JsonValue): OperationRecord {
  const corrupt = (what: string): StateCorruptError =>
    new StateCorruptError("the record of an unfinished operation can't be read", {
      detail: `${key}: ${what}`,
      remedy: "Look at the record, clean up by hand what it names, and remove it.",
    });
  if (!isObject(value)) throw corrupt("not an object");
  const { version, id, kind, instanceUuid, params, startedAt, sequence, phase, committed, effects } = value;
  if (version !== VERSION) throw corrupt(`version ${JSON.stringify(version)}`);
  if (typeof id !== "string" || typeof kind !== "string" || typeof phase !== "string")
    throw corrupt("id, kind or phase");
  if (typeof startedAt !== "number" || typeof sequence !== "number" || typeof committed !== "boolean")
    throw corrupt("a field");
  if (instanceUuid !== undefined && typeof instanceUuid !== "string") throw corrupt("instanceUuid");
  if (!isObject(params) || !Array.isArray(effects)) throw corrupt("params or effects");
  const list = (effects as readonly JsonValue[]).map((effect): EffectRecord => {
    if (!isObject(effect) || typeof effect.kind !== "string" || !isObject(effect.data)) throw corrupt("an effect");
    return { kind: effect.kind, data: effect.data };
  });
  const instance = instanceUuid === undefined ? {} : { instanceUuid };
  return { id, kind, ...instance, params, startedAt, sequence, phase, committed, effects: list };
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

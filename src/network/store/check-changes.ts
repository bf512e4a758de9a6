/** What stores accept: every one refuses the same commits and queries, before it looks at its records. */
import { InvalidArgumentError } from "../../core/index.js";
import type { JsonObject, JsonValue } from "../../core/index.js";
import type { FindRecords, StoreChange } from "./network-store.js";

export const MAX_CHANGES = 20_000;
export const MAX_VALUE_BYTES = 65_536;
export const MAX_PAGE = 10_000;
const MAX_KEYS = 16;
const KIND = /^[a-z][a-z0-9-]{0,31}$/;
const ID = /^[!-~]{1,255}$/;
const UNSTORABLE = /[\0\p{Cs}]/u;
/** How many levels of nesting a value may have. */
const MAX_DEPTH = 32;

function refuse(field: string, value: unknown, expected: string): never {
  throw new InvalidArgumentError({ field, value, expected });
}

export function checkKind(kind: string): void {
  if (typeof kind !== "string" || !KIND.test(kind)) refuse("kind", kind, "1 to 32 characters of a-z, 0-9 and '-'");
}

export function checkId(id: string, field = "id"): void {
  if (typeof id !== "string" || !ID.test(id)) refuse(field, id, "1 to 255 visible ASCII characters");
}

function checkKeys(keys: readonly string[] | undefined, field: string): void {
  if (keys === undefined) return;
  if (keys.length > MAX_KEYS) refuse(field, keys, `at most ${MAX_KEYS} keys`);
  for (const key of keys) checkId(key, field);
  if (new Set(keys).size !== keys.length) refuse(field, keys, "keys that differ");
}

function checkVersion(version: number, min: number, field: string): void {
  if (!Number.isSafeInteger(version) || version < min) refuse(field, version, `a whole number of ${min} or more`);
}

function checkStorable(value: JsonValue | undefined, field: string, depth: number): void {
  if (depth > MAX_DEPTH) refuse(field, value, "less nesting");
  if (typeof value === "string") {
    if (UNSTORABLE.test(value)) refuse(field, value, "text without NUL and half surrogate pairs");
  } else if (typeof value === "number") {
    if (!Number.isFinite(value)) refuse(field, value, "a finite number");
  } else if (Array.isArray(value)) {
    for (const item of value as readonly JsonValue[]) checkStorable(item, field, depth + 1);
  } else if (typeof value === "object" && value !== null) {
    for (const [key, item] of Object.entries(value as JsonObject)) {
      checkStorable(key, field, depth);
      if (item !== undefined) checkStorable(item, field, depth + 1);
    }
  } else if (typeof value !== "boolean" && value !== null) refuse(field, value, "JSON");
}

/** The value as JSON text. */
export function encodeValue(value: JsonObject): string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) refuse("value", value, "an object");
  checkStorable(value, "value", 0);
  const text = JSON.stringify(value);
  if (Buffer.byteLength(text) > MAX_VALUE_BYTES) refuse("value", value, `at most ${MAX_VALUE_BYTES} bytes of JSON`);
  return text;
}

/** @throws InvalidArgumentError for what no store may accept. */
export function checkChanges(changes: readonly StoreChange[]): void {
  if (changes.length < 1 || changes.length > MAX_CHANGES)
    refuse("changes", changes, `1 to ${MAX_CHANGES} changes in a commit`);
  const seen = new Set<string>();
  for (const change of changes) {
    checkKind(change.kind);
    if (change.op === "limit") {
      checkId(change.index, "index");
      checkVersion(change.atMost, 0, "atMost");
      continue;
    }
    checkId(change.id);
    checkVersion(change.expected, change.op === "put" ? 0 : 1, "expected");
    const key = `${change.kind} ${change.id}`;
    if (seen.has(key)) refuse("changes", key, "each record at most once");
    seen.add(key);
    if (change.op !== "put") continue;
    checkKeys(change.unique, "unique");
    checkKeys(change.index, "index");
    if (change.order !== undefined && !Number.isSafeInteger(change.order))
      refuse("order", change.order, "a whole number");
  }
}

/** @throws InvalidArgumentError */
export function checkQuery(query: FindRecords): { readonly limit: number } {
  checkKind(query.kind);
  if (query.index !== undefined) checkId(query.index, "index");
  const { limit = 1_000 } = query;
  if (!Number.isSafeInteger(limit) || limit < 1 || limit > MAX_PAGE) refuse("limit", limit, `from 1 to ${MAX_PAGE}`);
  if (query.after !== undefined) {
    checkId(query.after.id, "after.id");
    if (!Number.isSafeInteger(query.after.order)) refuse("after.order", query.after.order, "a whole number");
  }
  return { limit };
}

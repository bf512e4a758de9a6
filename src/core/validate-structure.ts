/** Checks of structures: objects, lists, records and choices, read once and copied into plain frozen data. */
import { cloneJson } from "./clone-json.js";
import { InvalidArgumentError } from "./common-errors.js";
import type { JsonValue } from "./json.js";

/**
 * Checks a value of unknown origin: returns it typed, copied and frozen, or throws an `InvalidArgumentError` that names the
 * path of the bad field. Getters of the value are never called, and each property is read once.
 */
export type Check<T> = (value: unknown, path: string) => T;

/** What a check returns. */
export type Checked<C> = C extends Check<infer T> ? T : never;

const OPTIONAL: unique symbol = Symbol("hypervise.optional");

/** A check of a property that may be absent or undefined; made by `check.optional`. */
export interface OptionalCheck<T> extends Check<T> {
  readonly [OPTIONAL]: true;
}

/** What `check.object` takes: a check for each known key. */
export interface Shape {
  readonly [key: string]: Check<unknown>;
}

type OptionalKeys<S extends Shape> = { [K in keyof S]: S[K] extends OptionalCheck<unknown> ? K : never }[keyof S];

/** The object that a shape describes. */
export type ObjectOf<S extends Shape> = {
  readonly [K in Exclude<keyof S, OptionalKeys<S>>]: Checked<S[K]>;
} & { readonly [K in OptionalKeys<S>]?: Checked<S[K]> } extends infer T
  ? { readonly [K in keyof T]: T[K] }
  : never;

/** Paths longer than this are taken for a structure that contains itself. */
const MAX_PATH = 2_048;
const MAX_KEYS = 1_024;
const IDENTIFIER = /^[A-Za-z_$][\w$]{0,63}$/;

/** The error for a value that is not what it should be. */
export function invalid(path: string, value: unknown, expected: string, cause?: unknown): InvalidArgumentError {
  return new InvalidArgumentError({ field: path, value, expected, cause });
}

/** The path of a member: `spec.nics`, or `spec["odd key"]`. */
export function memberPath(path: string, key: string): string {
  if (IDENTIFIER.test(key)) return `${path}.${key}`;
  return `${path}[${JSON.stringify(key.length > 64 ? `${key.slice(0, 64)}…` : key)}]`;
}

/** The property may be absent. */
export function optional<T>(check: Check<T>): OptionalCheck<T> {
  const wrapped: Check<T> = (value, path) => check(value, path);
  return Object.assign(wrapped, { [OPTIONAL]: true as const });
}

/** An absent property becomes `fallback`, which is not checked. */
export function withDefault<T>(check: Check<T>, fallback: T): Check<T> {
  return (value, path) => (value === undefined ? fallback : check(value, path));
}

/** The value or null. */
export function nullable<T>(check: Check<T>): Check<T | null> {
  return (value, path) => (value === null ? null : check(value, path));
}

/** A plain object with these keys and no others. */
export function object<const S extends Shape>(shape: S): Check<ObjectOf<S>> {
  const known = Object.keys(shape);
  return (value, path) => {
    const properties = readProperties(value, path, "an object");
    for (const key of properties.keys()) {
      if (!Object.hasOwn(shape, key))
        throw invalid(memberPath(path, key), properties.get(key), `nothing here (known keys: ${known.join(", ")})`);
    }
    const result: Record<string, unknown> = {};
    for (const key of known) {
      const check = shape[key] as Check<unknown>;
      const item = properties.get(key);
      if (item === undefined && OPTIONAL in check) continue;
      const checked = check(item, memberPath(path, key));
      if (checked !== undefined) result[key] = checked;
    }
    return Object.freeze(result) as ObjectOf<S>;
  };
}

/** A list; `max` (default 1024) is checked before any item. */
export function array<T>(
  item: Check<T>,
  options: { readonly min?: number; readonly max?: number } = {},
): Check<readonly T[]> {
  const { min = 0, max = 1024 } = options;
  return (value, path) => {
    const list = readList(value, path, min, max);
    return Object.freeze(list.map((element, i) => item(element, `${path}[${i}]`)));
  };
}

/** A plain object of any keys that pass `key` and values that pass `value`; at most `max` (default 1024) of them. */
export function record<T>(
  key: Check<string>,
  value: Check<T>,
  options: { readonly max?: number } = {},
): Check<{ readonly [key: string]: T }> {
  const { max = MAX_KEYS } = options;
  return (input, path) => {
    const properties = readProperties(input, path, "an object", max);
    const result: Record<string, T> = {};
    for (const [name, item] of properties) {
      if (name === "__proto__") throw invalid(memberPath(path, name), name, "another key");
      const checkedName = key(name, `${path} key`);
      result[checkedName] = value(item, memberPath(path, name));
    }
    return Object.freeze(result);
  };
}

/** An object whose `tag` says which of the shapes it has. */
export function variants<const Tag extends string, const V extends { readonly [name: string]: Check<unknown> }>(
  tag: Tag,
  shapes: V,
): Check<Checked<V[keyof V]>> {
  const names = Object.keys(shapes);
  return (value, path) => {
    const name = readProperties(value, path, "an object").get(tag);
    const check = typeof name === "string" && Object.hasOwn(shapes, name) ? shapes[name] : undefined;
    if (check === undefined)
      throw invalid(memberPath(path, tag), name, `one of ${names.map((n) => JSON.stringify(n)).join(", ")}`);
    return check(value, path) as Checked<V[keyof V]>;
  };
}

/** A check that is looked up when it is needed: for types that contain themselves. Nesting is bounded by the path's length. */
export function lazy<T>(get: () => Check<T>): Check<T> {
  return (value, path) => {
    if (path.length > MAX_PATH) throw invalid(`${path.slice(0, 80)}…`, value, "less nesting");
    return get()(value, path);
  };
}

/** A further condition on what another check accepts. */
export function refine<T>(check: Check<T>, holds: (value: T) => boolean, expected: string): Check<T> {
  return (value, path) => {
    const checked = check(value, path);
    if (!holds(checked)) throw invalid(path, value, expected);
    return checked;
  };
}

/** Turns what another check accepts into something else. */
export function map<T, U>(check: Check<T>, to: (value: T, path: string) => U): Check<U> {
  return (value, path) => to(check(value, path), path);
}

/** An instance of a class, or of a type that a guard knows: passed on as it is. */
export function guarded<T>(guard: (value: unknown) => value is T, expected: string): Check<T> {
  return (value, path) => {
    if (!guard(value)) throw invalid(path, value, expected);
    return value;
  };
}

/** Any JSON data, at most `maxBytes` (default 64 KiB) of it as text. */
export function json(options: { readonly maxBytes?: number } = {}): Check<JsonValue> {
  const { maxBytes = 65_536 } = options;
  return (value, path) => {
    const copy = cloneJson(value, path);
    if (Buffer.byteLength(JSON.stringify(copy)) > maxBytes)
      throw invalid(path, value, `at most ${maxBytes} bytes of JSON`);
    return copy;
  };
}

function readProperties(value: unknown, path: string, expected: string, max = MAX_KEYS): Map<string, unknown> {
  try {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(path, value, expected);
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== null && prototype !== Object.prototype && Object.getPrototypeOf(prototype) !== null) {
      throw invalid(path, value, "a plain object");
    }
    const keys = Reflect.ownKeys(value);
    if (keys.length > max) throw invalid(path, value, `at most ${max} keys`);
    return new Map(keys.map((key) => [readKey(key, path), readOwn(value, key, path)]));
  } catch (error) {
    throw error instanceof InvalidArgumentError ? error : invalid(path, undefined, "an object that can be read", error);
  }
}

function readKey(key: string | symbol, path: string): string {
  if (typeof key === "symbol") throw invalid(path, key, "an object without symbol keys");
  return key;
}

function readOwn(value: object, key: string | symbol, path: string): unknown {
  const descriptor = Object.getOwnPropertyDescriptor(value, key);
  if (descriptor === undefined || "value" in descriptor) return descriptor?.value as unknown;
  throw invalid(memberPath(path, String(key)), undefined, "a value, not an accessor");
}

function readList(value: unknown, path: string, min: number, max: number): unknown[] {
  const bounds = max === Number.MAX_SAFE_INTEGER ? `${min} or more` : `${min} to ${max}`;
  try {
    if (!Array.isArray(value)) throw invalid(path, value, "a list");
    const length = (value as unknown[]).length;
    if (!(length >= min && length <= max)) throw invalid(path, value, `a list of ${bounds}`);
    return Array.from({ length }, (_, i) => readOwn(value, String(i), path));
  } catch (error) {
    throw error instanceof InvalidArgumentError ? error : invalid(path, undefined, "a list that can be read", error);
  }
}

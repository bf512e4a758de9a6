/** Where a driver keeps what must outlive its process: small JSON records under path-like keys. */
import { cloneJson } from "./clone-json.js";
import { InvalidArgumentError } from "./common-errors.js";
import type { JsonValue } from "./json.js";

/**
 * A durable map from keys to JSON values. Keys are `a/b/c`: 1 to 8 parts of `A-Z a-z 0-9 . _ -`, each 1 to 128 characters
 * long, neither beginning with a dot nor ending in `.json` or `.tmp`; the whole at most 512.
 * Implementations check keys with {@link checkStateKey}.
 */
export interface StateStore {
  /** The value, or undefined. @throws StateCorruptError when there is one that can't be read. */
  get(key: string): Promise<JsonValue | undefined>;
  /** Sets a value: atomic for readers, and durable when it resolves. On failure the old value stands. */
  put(key: string, value: JsonValue): Promise<void>;
  /** Takes a value away, durably; absent is fine. */
  delete(key: string): Promise<void>;
  /** All keys that begin with the prefix, sorted. */
  list(prefix: string): Promise<readonly string[]>;
}

const PART = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/;

/** @throws InvalidArgumentError when a key is not of the form that {@link StateStore} states. */
export function checkStateKey(key: string): void {
  const parts = typeof key === "string" && key.length <= 512 ? key.split("/") : [];
  const good =
    parts.length >= 1 && parts.length <= 8 && parts.every((part) => PART.test(part) && !/\.(json|tmp)$/.test(part));
  if (!good)
    throw new InvalidArgumentError({ field: "stateKey", value: key, expected: "a key such as instances/UUID" });
}

/** A store that lasts as long as the object; hand it to a second driver to see what a restart would find. */
export class MemoryStateStore implements StateStore {
  readonly #values = new Map<string, JsonValue>();

  get size(): number {
    return this.#values.size;
  }

  async get(key: string): Promise<JsonValue | undefined> {
    checkStateKey(key);
    const value = this.#values.get(key);
    return value === undefined ? undefined : thaw(value);
  }

  async put(key: string, value: JsonValue): Promise<void> {
    checkStateKey(key);
    this.#values.set(key, cloneJson(value, key));
  }

  async delete(key: string): Promise<void> {
    checkStateKey(key);
    this.#values.delete(key);
  }

  async list(prefix: string): Promise<readonly string[]> {
    return [...this.#values.keys()].filter((key) => key.startsWith(prefix)).sort();
  }
}

/** Values come back as a real store would give them: fresh and writable. */
function thaw(value: JsonValue): JsonValue {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return (value as readonly JsonValue[]).map(thaw);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, thaw(item)]));
}

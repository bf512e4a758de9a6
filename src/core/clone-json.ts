/** Deep copies of JSON data, which also prove that it is JSON. */
import { InvalidArgumentError } from "./common-errors.js";
import type { JsonObject, JsonValue } from "./json.js";

const MAX_DEPTH = 64;

/** Copies that were made here: frozen through and through, so they need not be copied again. What is inside of them is not listed: an entry costs more than most copies. */
const copies = new WeakSet<object>();

/**
 * A frozen deep copy; what is such a copy already is returned as it is.
 * @throws InvalidArgumentError naming the first place that JSON can't carry: not-a-number, undefined in a list, functions,
 * instances of classes, cycles or more than 64 levels, accessors, keys named `__proto__`. Properties that are undefined are
 * left out.
 */
export function cloneJson(value: unknown, path = "value"): JsonValue {
  const copy = new Cloner(path).clone(value);
  if (typeof copy === "object" && copy !== null) copies.add(copy);
  return copy;
}

/** {@link cloneJson} of an object. */
export function cloneJsonObject(value: unknown, path = "value"): JsonObject {
  const copy = cloneJson(value, path);
  if (typeof copy === "object" && copy !== null && !Array.isArray(copy)) return copy as JsonObject;
  throw new InvalidArgumentError({ field: path, value, expected: "a JSON object" });
}

class Cloner {
  readonly #root: string;
  readonly #path: (string | number)[] = [];

  constructor(root: string) {
    this.#root = root;
  }

  clone(value: unknown): JsonValue {
    if (value === null || typeof value === "string" || typeof value === "boolean") return value;
    if (typeof value === "number" && Number.isFinite(value)) return value + 0;
    if (typeof value !== "object" || this.#path.length >= MAX_DEPTH) throw this.#refuse(value);
    if (copies.has(value)) return value as JsonObject;
    return Array.isArray(value) ? this.#list(value) : this.#object(value);
  }

  #list(value: readonly unknown[]): readonly JsonValue[] {
    return Object.freeze(Array.from(value, (item, i) => this.#member(i, item)));
  }

  #object(value: object): JsonObject {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== null && prototype !== Object.prototype && Object.getPrototypeOf(prototype) !== null)
      throw this.#refuse(value);
    const copy: Record<string, JsonValue> = {};
    for (const key of Object.keys(value)) {
      const descriptor = Object.getOwnPropertyDescriptor(value, key);
      if (descriptor === undefined || !("value" in descriptor) || key === "__proto__") {
        this.#path.push(key);
        throw this.#refuse("an accessor or a reserved name");
      }
      if (descriptor.value !== undefined) copy[key] = this.#member(key, descriptor.value);
    }
    return Object.freeze(copy);
  }

  #member(key: string | number, value: unknown): JsonValue {
    this.#path.push(key);
    const copy = this.clone(value);
    this.#path.pop();
    return copy;
  }

  #refuse(value: unknown): InvalidArgumentError {
    const path = this.#path.map((key) => (typeof key === "number" ? `[${key}]` : `.${key}`)).join("");
    return new InvalidArgumentError({ field: `${this.#root}${path}`, value, expected: "plain JSON data" });
  }
}

/** Takes secrets out of errors that others threw, so that they can be kept as a `cause`. */
import { redactForms, secretForms } from "./redact.js";
import { REDACTED, Secret } from "./secret.js";
import type { SecretLike } from "./secret.js";

const MAX_DEPTH = 32;
const MAX_NODES = 10_000;

/**
 * Returns the value itself when no secret occurs in it, otherwise a copy without them. The copy of an error is an error
 * with the same prototype and the same own properties, so `instanceof` and `code` still serve. What can't be copied (an
 * object of a foreign class that holds a secret) is replaced by its class name. Bounded in depth and size.
 */
export function redactError(value: unknown, secrets: readonly SecretLike[] | undefined): unknown {
  const forms = secretForms(secrets);
  if (forms.length === 0) return value;
  try {
    if (!new TaintSearch(forms).taints(value, 0)) return value;
    return new Copier(forms).copy(value, 0);
  } catch {
    return new Error(`${REDACTED} (the cause could not be read)`);
  }
}

class TaintSearch {
  readonly #forms: readonly string[];
  readonly #seen = new Set<object>();

  constructor(forms: readonly string[]) {
    this.#forms = forms;
  }

  taints(value: unknown, depth: number): boolean {
    if (typeof value === "string") return this.#forms.some((form) => value.includes(form));
    if (typeof value !== "object" || value === null || Secret.is(value) || this.#seen.has(value)) return false;
    if (depth > MAX_DEPTH || this.#seen.size >= MAX_NODES) return true;
    this.#seen.add(value);
    if (ArrayBuffer.isView(value)) {
      const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      return this.#forms.some((form) => bytes.includes(form));
    }
    if (value instanceof Error && this.taints([value.name, value.message, value.stack, value.cause], depth + 1))
      return true;
    if (value instanceof Map)
      for (const [k, v] of value) if (this.taints(k, depth + 1) || this.taints(v, depth + 1)) return true;
    if (value instanceof Set) for (const v of value) if (this.taints(v, depth + 1)) return true;
    for (const key of Reflect.ownKeys(value)) {
      if (this.taints(key, depth + 1)) return true;
      const descriptor = Object.getOwnPropertyDescriptor(value, key);
      if (descriptor !== undefined && "value" in descriptor && this.taints(descriptor.value, depth + 1)) return true;
    }
    return false;
  }
}

class Copier {
  readonly #forms: readonly string[];
  readonly #copies = new Map<object, unknown>();

  constructor(forms: readonly string[]) {
    this.#forms = forms;
  }

  copy(value: unknown, depth: number): unknown {
    if (typeof value === "string") return this.#text(value);
    if (typeof value !== "object" || value === null || Secret.is(value)) return value;
    if (this.#copies.has(value)) return this.#copies.get(value);
    if (depth > MAX_DEPTH || this.#copies.size >= MAX_NODES) return "[truncated]";
    if (value instanceof Error) return this.#copyError(value, depth);
    if (Array.isArray(value)) {
      return this.#fill(value, [] as unknown[], (list) =>
        value.forEach((v) => void list.push(this.copy(v, depth + 1))),
      );
    }
    if (value instanceof Map) {
      return this.#fill(value, new Map(), (map) =>
        value.forEach((v, k) => map.set(this.copy(k, depth + 1), this.copy(v, depth + 1))),
      );
    }
    if (value instanceof Set)
      return this.#fill(value, new Set(), (set) => value.forEach((v) => set.add(this.copy(v, depth + 1))));
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || prototype === null) {
      return this.#fill(value, Object.create(prototype) as object, (object) => this.#copyFields(value, object, depth));
    }
    return new TaintSearch(this.#forms).taints(value, depth) ? `[${className(value)}]` : value;
  }

  #text(text: string): string {
    return redactForms(text, this.#forms);
  }

  #fill<T extends object>(source: object, target: T, fill: (target: T) => void): T {
    this.#copies.set(source, target);
    fill(target);
    return target;
  }

  #copyError(error: Error, depth: number): Error {
    const copy = new Error(this.#text(String(error.message)));
    Object.setPrototypeOf(copy, Object.getPrototypeOf(error) as object);
    return this.#fill(error, copy, () => {
      this.#copyFields(error, copy, depth);
      const stack = this.#text(String(error.stack ?? ""));
      Object.defineProperty(copy, "stack", { value: stack, configurable: true, writable: true, enumerable: false });
    });
  }

  #copyFields(source: object, target: object, depth: number): void {
    for (const key of Reflect.ownKeys(source)) {
      const descriptor = Object.getOwnPropertyDescriptor(source, key);
      if (descriptor === undefined || key === "stack") continue;
      const value = "value" in descriptor ? this.copy(descriptor.value, depth + 1) : "[accessor]";
      const name = typeof key === "string" ? this.#text(key) : key;
      Object.defineProperty(target, name, {
        value,
        configurable: true,
        writable: true,
        enumerable: descriptor.enumerable === true,
      });
    }
  }
}

function className(value: object): string {
  const constructor: unknown = (value as { constructor?: unknown }).constructor;
  return typeof constructor === "function" && constructor.name !== "" ? constructor.name : "object";
}

/** Takes secrets out of texts and out of data that is about to be logged, traced or attached to an error. */
import type { JsonValue } from "./json.js";
import { REDACTED, Secret } from "./secret.js";
import type { SecretLike } from "./secret.js";

const SECRET_KEY = /pass(word|phrase)?|secret|token|private.?key|credential/i;
const MAX_DEPTH = 16;
const MAX_NODES = 10_000;

/** Whether a field of this name is taken for a secret whatever it holds. */
export function isSecretKey(key: string): boolean {
  return SECRET_KEY.test(key);
}

/**
 * Replaces every occurrence of each secret by `[redacted]`: as it is, and as it stands inside JSON, an URI, base64 or
 * hexadecimal text. Empty secrets are ignored.
 */
export function redactText(text: string, secrets: readonly SecretLike[] | undefined): string {
  return redactForms(text, secretForms(secrets));
}

/** {@link redactText} for spellings that {@link secretForms} gave. */
export function redactForms(text: string, forms: readonly string[]): string {
  let result = text;
  for (const form of forms) if (result.includes(form)) result = result.split(form).join(REDACTED);
  return result;
}

/** Every spelling of the given secrets that {@link redactText} looks for, longest first. */
export function secretForms(secrets: readonly SecretLike[] | undefined): string[] {
  if (secrets === undefined || secrets.length === 0) return [];
  const forms = new Set<string>();
  for (const secret of secrets) {
    const text = typeof secret === "string" ? secret : secret.reveal();
    if (text === "") continue;
    forms.add(text);
    forms.add(JSON.stringify(text).slice(1, -1));
    forms.add(encodeURIComponent(text.replace(/\p{Surrogate}/gu, "\ufffd")));
    if (text.length < 4) continue;
    const bytes = Buffer.from(text, "utf8");
    forms.add(bytes.toString("base64"));
    forms.add(bytes.toString("base64").replace(/=+$/, ""));
    forms.add(bytes.toString("base64url"));
    forms.add(bytes.toString("hex"));
  }
  return [...forms].sort((a, b) => b.length - a.length);
}

/**
 * A deep copy for logs and traces: `Secret`s, and texts, numbers and structures under keys such as `password`, `token` or
 * `privateKey`, become `[redacted]`; so does every occurrence of `secrets` in a text. Cycles, accessors, functions and
 * binary data are named, not followed; depth and size are bounded.
 */
export function redactValue(value: unknown, secrets?: readonly SecretLike[]): unknown {
  const forms = secretForms(secrets);
  const open = new Set<object>();
  let nodes = 0;

  const text = (s: string): string => redactForms(s, forms);

  const copy = (v: unknown, depth: number): unknown => {
    if (typeof v === "string") return text(v);
    if (typeof v === "function") return "[function]";
    if (typeof v === "symbol") return "[symbol]";
    if (typeof v !== "object" || v === null) return v;
    if (Secret.is(v)) return REDACTED;
    if (open.has(v)) return "[circular]";
    if (depth >= MAX_DEPTH || ++nodes > MAX_NODES) return "[truncated]";
    if (ArrayBuffer.isView(v) || v instanceof ArrayBuffer) return `[${v.byteLength} bytes]`;
    if (v instanceof Date) return new Date(v.getTime());
    open.add(v);
    try {
      if (Array.isArray(v)) return v.map((item) => copy(item, depth + 1));
      if (v instanceof Map) return new Map([...v].map(([k, item]) => [copy(k, depth + 1), field(k, item, depth)]));
      if (v instanceof Set) return new Set([...v].map((item) => copy(item, depth + 1)));
      if (v instanceof Error) return { ...header(v, depth), ...fields(v, depth) };
      return fields(v, depth);
    } finally {
      open.delete(v);
    }
  };

  const header = (error: Error, depth: number): Record<string, unknown> => ({
    name: text(String(error.name)),
    message: text(String(error.message)),
    ...(error.cause === undefined ? {} : { cause: copy(error.cause, depth + 1) }),
  });

  const field = (key: unknown, item: unknown, depth: number): unknown => {
    if (typeof key !== "string" || !isSecretKey(key)) return copy(item, depth + 1);
    return item === undefined || item === null || typeof item === "boolean" ? item : REDACTED;
  };

  const fields = (object: object, depth: number): Record<string, unknown> => {
    const result: Record<string, unknown> = {};
    for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(object))) {
      if (descriptor.enumerable !== true) continue;
      const shown = "value" in descriptor ? field(key, descriptor.value, depth) : "[accessor]";
      Object.defineProperty(result, text(key), { value: shown, enumerable: true, configurable: true, writable: true });
    }
    return result;
  };

  try {
    return copy(value, 0);
  } catch {
    return "[unreadable]";
  }
}

/** {@link redactValue} as JSON: big integers, dates and not-a-number become text, maps objects, what is undefined is left out. */
export function redactToJson(value: unknown, secrets?: readonly SecretLike[]): JsonValue {
  return asJson(redactValue(value, secrets));
}

function asJson(value: unknown): JsonValue {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object") return `[${typeof value}]`;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "invalid date" : value.toISOString();
  if (value instanceof Set || Array.isArray(value)) return [...(value as Iterable<unknown>)].map(asJson);
  const entries = value instanceof Map ? [...(value as Map<unknown, unknown>)] : Object.entries(value);
  const present = entries.filter(([, item]) => item !== undefined);
  return Object.fromEntries(
    present.map(([key, item]) => [typeof key === "string" ? key : JSON.stringify(asJson(key)), asJson(item)]),
  );
}

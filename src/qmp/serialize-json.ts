/** JSON as QEMU reads it: `bigint` as digits, and nothing that QEMU would take for a broken message. */
import { InvalidArgumentError, Secret } from "../core/index.js";
import { MAX_JSON_DEPTH } from "./parse-json.js";

/** QEMU's own limit of a message: 64 MiB of tokens. */
export const MAX_COMMAND_BYTES = 64 * 1024 * 1024;

const REDACTED = String(Secret.of(""));
const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * Writes a value as JSON of one line. Members that are `undefined` are left out; a `Secret` gives
 * its text.
 * @param field how errors name the value, for example `arguments`
 * @throws InvalidArgumentError for what JSON or QEMU can't carry: functions, symbols, NaN and infinities, lone surrogates, big
 *   integers beyond 64 bits, cycles and nesting beyond 1,024 levels, more than 64 MiB
 */
export function serializeJson(value: unknown, field: string): string {
  const text = serializeFast(value);
  if (text === undefined || needsCare(text)) return bounded(new CarefulSerializer().write(value, field, 0), field);
  return text;
}

function serializeFast(value: unknown): string | undefined {
  // An embedder that gave BigInt a toJSON would have its big integers turned into strings here.
  if ("toJSON" in BigInt.prototype) return undefined;
  try {
    const text: string | undefined = JSON.stringify(value);
    return text;
  } catch {
    return undefined;
  }
}

/** Whether JSON.stringify may have let something pass: NaN as null, lone surrogates, a hidden `Secret`, nesting, great length. */
function needsCare(text: string): boolean {
  return text.length > MAX_JSON_DEPTH * 4 || text.includes("null") || text.includes("\\ud") || text.includes(REDACTED);
}

function bounded(text: string, field: string): string {
  if (text.length <= MAX_COMMAND_BYTES / 3 || Buffer.byteLength(text) <= MAX_COMMAND_BYTES) return text;
  throw new InvalidArgumentError({ field, expected: `at most ${MAX_COMMAND_BYTES} bytes of JSON`, value: text.length });
}

class CarefulSerializer {
  write(value: unknown, path: string, depth: number): string {
    switch (typeof value) {
      case "string":
        return this.#string(value, path);
      case "boolean":
        return String(value);
      case "number":
        if (!Number.isFinite(value))
          throw new InvalidArgumentError({ field: path, expected: "a finite number", value });
        return JSON.stringify(value);
      case "bigint":
        if (BigInt.asIntN(64, value) !== value && BigInt.asUintN(64, value) !== value)
          throw new InvalidArgumentError({ field: path, expected: "an integer of at most 64 bits", value });
        return value.toString();
      case "object":
        return value === null ? "null" : this.#structure(value, path, depth);
      default:
        throw new InvalidArgumentError({ field: path, expected: "a JSON value", value });
    }
  }

  #structure(value: object, path: string, depth: number): string {
    if (depth >= MAX_JSON_DEPTH - 8) {
      throw new InvalidArgumentError({
        field: path.slice(0, 200),
        expected: `at most ${MAX_JSON_DEPTH - 8} levels of nesting`,
      });
    }
    if (Secret.is(value)) return this.#string(value.reveal(), path);
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === "function") return this.write(toJSON.call(value, ""), path, depth + 1);
    if (Array.isArray(value)) {
      return `[${value.map((item: unknown, i) => this.write(item ?? null, `${path}[${i}]`, depth + 1)).join(",")}]`;
    }
    const members: string[] = [];
    for (const [key, member] of Object.entries(value)) {
      if (member === undefined) continue;
      members.push(`${this.#string(key, path)}:${this.write(member, `${path}.${key}`, depth + 1)}`);
    }
    return `{${members.join(",")}}`;
  }

  #string(text: string, path: string): string {
    if (LONE_SURROGATE.test(text)) {
      throw new InvalidArgumentError({
        field: path,
        expected: "text without unpaired surrogates",
        value: text.slice(0, 40),
      });
    }
    return JSON.stringify(text);
  }
}

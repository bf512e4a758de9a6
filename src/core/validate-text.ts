/** Checks of single values: texts, numbers, names and addresses. */
import { isIP } from "node:net";
import { Secret } from "./secret.js";
import { invalid } from "./validate-structure.js";
import type { Check } from "./validate-structure.js";

/** Which characters a text may hold. None admits half surrogate pairs. */
export type Charset =
  /** Any but control characters. */
  | "printable"
  /** Also tab and line breaks. */
  | "text"
  /** Space to tilde. */
  | "ascii"
  /** Letters, digits, and dot, underscore, hyphen after the first character. */
  | "name";

/** Bounds of a text. Lengths count UTF-16 units, as `length` does. */
export interface StringRules {
  /** Default: 1. */
  readonly min?: number;
  /** Default: 1024. */
  readonly max?: number;
  /** Longest in UTF-8. */
  readonly maxBytes?: number;
  /** Default: `printable`. */
  readonly charset?: Charset;
  readonly pattern?: RegExp;
  /** What to say that the pattern stands for. */
  readonly expected?: string;
}

const CHARSETS: { readonly [K in Charset]: { readonly good: RegExp; readonly words: string } } = {
  printable: { good: /^[^\p{Cc}\p{Cs}\u2028\u2029]*$/u, words: "printable characters" },
  text: { good: /^(?:[\t\n\r]|[^\p{Cc}\p{Cs}])*$/u, words: "text" },
  ascii: { good: /^[ -~]*$/, words: "ASCII characters" },
  name: {
    good: /^(?:[A-Za-z0-9][A-Za-z0-9._-]*)?$/,
    words: "letters, digits, '.', '_' and '-', beginning with a letter or digit",
  },
};

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i;
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;

/** A text within rules. */
export function string(rules: StringRules = {}): Check<string> {
  const { min = 1, max = 1024, maxBytes, charset = "printable", pattern } = rules;
  const { good, words } = CHARSETS[charset];
  const expected = rules.expected ?? `${min} to ${max} ${words}`;
  return (value, path) => {
    if (typeof value !== "string") throw invalid(path, value, rules.expected ?? "a string");
    if (value.length < min || value.length > max || !good.test(value)) throw invalid(path, value, expected);
    if (maxBytes !== undefined && Buffer.byteLength(value) > maxBytes)
      throw invalid(path, value, `at most ${maxBytes} bytes`);
    if (pattern !== undefined && !matches(pattern, value))
      throw invalid(path, value, rules.expected ?? `text matching ${String(pattern)}`);
    return value;
  };
}

/** A text that is wrapped in a `Secret` and shown in no error; a `Secret` is taken too. */
export function secret(rules: Pick<StringRules, "min" | "max"> = {}): Check<Secret> {
  const { min = 1, max = 65_536 } = rules;
  return (value, path) => {
    const wrapped = typeof value === "string" || Secret.is(value) ? Secret.of(value) : undefined;
    const length = wrapped?.reveal().length ?? -1;
    if (wrapped === undefined || length < min || length > max) {
      throw invalid(path, wrapped ?? Secret.of("secret"), `a secret of ${min} to ${max} characters`);
    }
    return wrapped;
  };
}

/** A whole number that JavaScript holds exactly; minus zero becomes zero. Default: any. */
export function integer(rules: { readonly min?: number; readonly max?: number } = {}): Check<number> {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = rules;
  const expected = `an integer ${range(rules.min, rules.max)}`.trim();
  return (value, path) => {
    if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max)
      throw invalid(path, value, expected);
    return (value as number) + 0;
  };
}

/** A finite number. */
export function number(rules: { readonly min?: number; readonly max?: number } = {}): Check<number> {
  const { min = -Infinity, max = Infinity } = rules;
  const expected = `a finite number ${range(rules.min, rules.max)}`.trim();
  return (value, path) => {
    if (typeof value !== "number" || !Number.isFinite(value) || value < min || value > max)
      throw invalid(path, value, expected);
    return value + 0;
  };
}

export function boolean(): Check<boolean> {
  return (value, path) => {
    if (typeof value !== "boolean") throw invalid(path, value, "true or false");
    return value;
  };
}

/** One of the listed values. */
export function oneOf<const T extends readonly (string | number | boolean | null)[]>(list: T): Check<T[number]> {
  const expected =
    list.length === 1 ? JSON.stringify(list[0]) : `one of ${list.map((item) => JSON.stringify(item)).join(", ")}`;
  return (value, path) => {
    if (!list.includes(value as T[number])) throw invalid(path, value, expected);
    return value as T[number];
  };
}

/** An UUID in its usual spelling; becomes lower case. */
export function uuid(): Check<string> {
  return lowerCased((text) => UUID.test(text), 36, "a UUID");
}

/** A MAC address such as `52:54:00:12:34:56`; becomes lower case. By default that of a station: neither multicast nor zero. */
export function mac(rules: { readonly multicast?: boolean } = {}): Check<string> {
  const station = (text: string): boolean => (parseInt(text.slice(0, 2), 16) & 1) === 0 && text !== "00:00:00:00:00:00";
  const good = (text: string): boolean => MAC.test(text) && (rules.multicast === true || station(text));
  return lowerCased(good, 17, rules.multicast === true ? "a MAC address" : "a unicast MAC address");
}

/** An IP address, without a zone; IPv6 becomes lower case. */
export function ipAddress(rules: { readonly version?: 4 | 6 } = {}): Check<string> {
  return lowerCased((text) => isAddress(text, rules.version), 45, `an IP${versionWord(rules.version)} address`);
}

/** An address with a prefix length, such as `10.0.0.0/24`; bits beyond the prefix may be set. */
export function cidr(rules: { readonly version?: 4 | 6 } = {}): Check<string> {
  const good = (text: string): boolean => {
    const [address = "", length = "", ...rest] = text.split("/");
    const longest = isIP(address) === 4 ? 32 : 128;
    return (
      rest.length === 0 &&
      isAddress(address, rules.version) &&
      /^(?:0|[1-9]\d{0,2})$/.test(length) &&
      Number(length) <= longest
    );
  };
  return lowerCased(
    good,
    49,
    `an IP${versionWord(rules.version)} prefix such as ${rules.version === 6 ? "fd00::/64" : "10.0.0.0/24"}`,
  );
}

/** A host name after RFC 1123: labels of letters, digits and hyphens; at most 253 characters; becomes lower case. */
export function hostname(): Check<string> {
  const good = (text: string): boolean => text.split(".").every((label) => LABEL.test(label));
  return lowerCased(good, 253, "a host name");
}

/** An absolute path without empty, `.` or `..` parts, at most 4095 bytes long. */
export function absolutePath(): Check<string> {
  const expected = "an absolute path without '.', '..' or empty parts";
  const text = string({ max: 4095, maxBytes: 4095, expected });
  return (value, path) => {
    const checked = text(value, path);
    const [root, ...parts] = checked.split("/");
    const good =
      root === "" && (checked === "/" || parts.every((part) => part !== "" && part !== "." && part !== ".."));
    if (!good) throw invalid(path, value, expected);
    return checked;
  };
}

function lowerCased(good: (text: string) => boolean, maxLength: number, expected: string): Check<string> {
  return (value, path) => {
    if (typeof value !== "string" || value.length > maxLength || !good(value)) throw invalid(path, value, expected);
    return value.toLowerCase();
  };
}

function isAddress(text: string, version: 4 | 6 | undefined): boolean {
  const found = text.includes("%") ? 0 : isIP(text);
  return found !== 0 && (version === undefined || found === version);
}

function versionWord(version: 4 | 6 | undefined): string {
  return version === undefined ? "" : `v${version}`;
}

function matches(pattern: RegExp, text: string): boolean {
  pattern.lastIndex = 0;
  return pattern.test(text);
}

function range(min: number | undefined, max: number | undefined): string {
  if (min !== undefined && max !== undefined) return `from ${min} to ${max}`;
  if (min !== undefined) return `of ${min} or more`;
  return max === undefined ? "" : `of ${max} or less`;
}

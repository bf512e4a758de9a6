/** JSON as QEMU writes it, read without loss: like `JSON.parse`, but integers beyond 2^53 become `bigint`. */
import type { QmpValue } from "./qmp-value.js";

/** How deep QEMU itself lets a message nest. */
export const MAX_JSON_DEPTH = 1024;

const TOKEN = /[^\s,\]}:]*/y;
const NUMBER = /^-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/;
const WORDS: ReadonlyMap<string, QmpValue> = new Map<string, QmpValue>([
  ["true", true],
  ["false", false],
  ["null", null],
  // QEMU prints doubles by printf and so lets these through, for example in the statistics of a migration.
  ["nan", Number.NaN],
  ["-nan", Number.NaN],
  ["inf", Number.POSITIVE_INFINITY],
  ["-inf", Number.NEGATIVE_INFINITY],
]);

/**
 * Reads one JSON value and nothing after it. Nesting deeper than 1,024 is refused, as QEMU refuses it.
 * @throws SyntaxError for anything else than one JSON value
 */
export function parseJsonExactly(text: string): QmpValue {
  return new ExactParser(text).parse();
}

class ExactParser {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): QmpValue {
    const value = this.#value();
    this.#skipSpace();
    if (this.#at < this.#text.length) throw this.#unexpected();
    return value;
  }

  #value(): QmpValue {
    this.#skipSpace();
    switch (this.#text.charCodeAt(this.#at)) {
      case 0x7b:
        return this.#nested(() => this.#object());
      case 0x5b:
        return this.#nested(() => this.#array());
      case 0x22:
        return this.#string();
      default:
        return this.#scalar();
    }
  }

  #nested<T>(read: () => T): T {
    if (++this.#depth > MAX_JSON_DEPTH) throw new SyntaxError(`JSON nests deeper than ${MAX_JSON_DEPTH}`);
    this.#at++;
    const value = read();
    this.#depth--;
    return value;
  }

  #object(): QmpValue {
    const object: Record<string, QmpValue> = {};
    if (this.#accept(0x7d)) return object;
    do {
      this.#skipSpace();
      if (this.#text.charCodeAt(this.#at) !== 0x22) throw this.#unexpected();
      const key = this.#string();
      if (!this.#accept(0x3a)) throw this.#unexpected();
      const value = this.#value();
      if (key === "__proto__") define(object, key, value);
      else object[key] = value;
    } while (this.#accept(0x2c));
    if (!this.#accept(0x7d)) throw this.#unexpected();
    return object;
  }

  #array(): QmpValue {
    const array: QmpValue[] = [];
    if (this.#accept(0x5d)) return array;
    do array.push(this.#value());
    while (this.#accept(0x2c));
    if (!this.#accept(0x5d)) throw this.#unexpected();
    return array;
  }

  #string(): string {
    const start = this.#at;
    let end = start + 1;
    for (;;) {
      const c = this.#text.charCodeAt(end);
      if (c === 0x22) break;
      if (Number.isNaN(c)) throw this.#unexpected();
      end += c === 0x5c ? 2 : 1;
    }
    this.#at = end + 1;
    return JSON.parse(this.#text.slice(start, end + 1)) as string;
  }

  #scalar(): QmpValue {
    TOKEN.lastIndex = this.#at;
    const token = TOKEN.exec(this.#text)?.[0] ?? "";
    const word = WORDS.get(token);
    const number = word === undefined ? NUMBER.exec(token) : null;
    if (word === undefined && number === null) throw this.#unexpected();
    this.#at += token.length;
    if (number === null) return word as QmpValue;
    const value = Number(token);
    const whole = number[1] === undefined && number[2] === undefined;
    return whole && !Number.isSafeInteger(value) ? BigInt(token) : value;
  }

  #accept(code: number): boolean {
    this.#skipSpace();
    if (this.#text.charCodeAt(this.#at) !== code) return false;
    this.#at++;
    return true;
  }

  #skipSpace(): void {
    for (;;) {
      const c = this.#text.charCodeAt(this.#at);
      if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return;
      this.#at++;
    }
  }

  #unexpected(): SyntaxError {
    const where = this.#at >= this.#text.length ? "end of JSON" : `character in JSON at position ${this.#at}`;
    return new SyntaxError(`unexpected ${where}`);
  }
}

function define(object: object, key: string, value: QmpValue): void {
  Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}

/** A string that never shows itself: the wrapper for passphrases, tokens and keys. */

const BRAND = Symbol.for("hypervise.secret");
const INSPECT = Symbol.for("nodejs.util.inspect.custom");

/** What stands wherever a secret would have stood. */
export const REDACTED = "[redacted]";

/** A secret, or a plain string that is to be treated as one. */
export type SecretLike = string | Secret;

/**
 * Holds a secret text. Printing, JSON, template strings and `util.inspect` show `[redacted]`; only {@link Secret.reveal}
 * gives the text. `structuredClone` and `postMessage` carry nothing of it over.
 */
export class Secret {
  readonly #value: string;

  private constructor(value: string) {
    this.#value = value;
  }

  /** Wraps a text; a `Secret` is returned as it is. */
  static of(value: SecretLike): Secret {
    return typeof value === "string" ? new Secret(value) : value;
  }

  /** Whether a value is a `Secret`, also one made by another copy of this package (ESM beside CommonJS). */
  static is(value: unknown): value is Secret {
    return typeof value === "object" && value !== null && (value as { [BRAND]?: unknown })[BRAND] === true;
  }

  get [BRAND](): true {
    return true;
  }

  /** The text itself, to be handed to what needs it and to nothing else. */
  reveal(): string {
    return this.#value;
  }

  /** Compares two secrets in a time that depends on their lengths alone. */
  equals(other: SecretLike): boolean {
    const mine = this.#value;
    const theirs = typeof other === "string" ? other : other.reveal();
    let difference = mine.length ^ theirs.length;
    for (let i = 0; i < mine.length; i++)
      difference |= mine.charCodeAt(i) ^ theirs.charCodeAt(i % (theirs.length || 1));
    return difference === 0;
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [Symbol.toPrimitive](): string {
    return REDACTED;
  }

  [INSPECT](): string {
    return REDACTED;
  }
}

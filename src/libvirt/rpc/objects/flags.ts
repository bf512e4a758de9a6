/** Flags as callers give them: a number, or the names of the bits. */
import { InvalidArgumentError } from "../../../core/index.js";
import * as enums from "../protocol/enums.gen.js";

/**
 * Flags of an enumeration: the names of bits, or a number made of them, such as
 * `["startPaused"]` or `DomainCreateFlags.startPaused`.
 */
export type FlagsInput<E> = number | readonly (keyof E)[];

const tables: Readonly<Record<string, Readonly<Record<string, number>>>> = enums;

/** The number. Throws `InvalidArgumentError` for a name that none of the enumerations has. */
export function flagsToNumber(input: unknown, enumNames: readonly string[], path: string): number {
  if (typeof input === "number") return input;
  if (!Array.isArray(input))
    throw new InvalidArgumentError({ field: path, value: input, expected: expectation(enumNames) });
  let bits = 0n;
  input.forEach((name: unknown, i) => {
    const value = bitNamed(name, enumNames);
    if (value === undefined) {
      throw new InvalidArgumentError({ field: `${path}[${i}]`, value: name, expected: expectation(enumNames) });
    }
    bits |= BigInt(value);
  });
  return Number(bits);
}

function bitNamed(name: unknown, enumNames: readonly string[]): number | undefined {
  if (typeof name !== "string") return undefined;
  for (const enumName of enumNames) {
    const table = tables[enumName];
    if (table !== undefined && Object.hasOwn(table, name)) return table[name];
  }
  return undefined;
}

function expectation(enumNames: readonly string[]): string {
  return enumNames.length === 0 ? "a number" : `a number or a list of names of ${enumNames.join(" or ")}`;
}

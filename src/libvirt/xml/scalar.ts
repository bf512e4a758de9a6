/** Numbers as texts. */
import { InvalidArgumentError } from "../../core/index.js";
import { illegalCharacterAt } from "./characters.js";
import type { Scalar } from "./schema-table.js";

const INTEGER = /^[ \t\n\r]*([+-]?[0-9]{1,40})[ \t\n\r]*$/;

/** The value of a text; undefined for what is not a number where one should be. */
export function readScalar(text: string, scalar: Scalar): string | number | bigint | undefined {
  if (scalar === "string") return text;
  const digits = INTEGER.exec(text)?.[1];
  if (digits === undefined) return undefined;
  const number = Number(digits);
  // Not -0, which no document means.
  if (Number.isSafeInteger(number)) return number === 0 ? 0 : number;
  return scalar === "int64" ? BigInt(digits.replace("+", "")) : undefined;
}

/** The text of a value. Throws `InvalidArgumentError` with the path of what is of the wrong type, or can't stand in XML. */
export function writeScalar(value: unknown, scalar: Scalar, path: string): string {
  if (scalar === "string") return checkText(value, path);
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number" && Number.isSafeInteger(value)) return value === 0 ? "0" : value.toString();
  throw new InvalidArgumentError({ field: path, value, expected: "a whole number, as a bigint beyond 2^53" });
}

/** A text that XML can hold. */
export function checkText(value: unknown, path: string): string {
  if (typeof value === "string" && illegalCharacterAt(value) === -1) return value;
  throw new InvalidArgumentError({
    field: path,
    value,
    expected: "a text without control characters or half surrogates",
  });
}

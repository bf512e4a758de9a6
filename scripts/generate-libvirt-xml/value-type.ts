/** What an attribute or a text may be. */
import { resolve } from "./pattern.js";
import type { DataPattern, Pattern } from "./pattern.js";

/**
 * - `string`: any text, of which `literals` are those that the schema names.
 * - `int`: a whole number that a double holds; `int64`: one that may need a bigint.
 */
export interface ValueType {
  readonly kind: "string" | "int" | "int64";
  readonly literals: readonly string[];
}

const NARROW = new Set(["int", "short", "unsignedInt", "unsignedShort"]);
const WIDE = new Set(["integer", "long", "positiveInteger", "unsignedLong"]);
const PLAIN_DIGITS = new Set(["[0-9]+", "-?[0-9]+", "(-|\\+)?[0-9]+", "-1"]);
const INTEGER = /^-?[0-9]+$/;

/** The type of what is in an attribute, or of the text in an element; undefined if there can be none. */
export function valueType(patterns: readonly Pattern[]): ValueType | undefined {
  const found = { isText: false, isNarrow: false, isWide: false, literals: new Set<string>() };
  const visit = (pattern: Pattern): void => {
    switch (pattern.kind) {
      case "text":
        found.isText = true;
        break;
      case "value":
        found.literals.add(pattern.value);
        break;
      case "data": {
        const width = integerWidth(pattern);
        if (width === "narrow") found.isNarrow = true;
        else if (width === "wide") found.isWide = true;
        else found.isText = true;
        break;
      }
      case "ref":
        visit(resolve(pattern));
        break;
      case "group":
      case "interleave":
      case "choice":
        pattern.members.forEach(visit);
        break;
      case "many":
        visit(pattern.content);
        break;
      case "element":
      case "attribute":
      case "empty":
      case "notAllowed":
        break;
    }
  };
  patterns.forEach(visit);
  const isInteger = found.isNarrow || found.isWide;
  const literals = [...found.literals].sort();
  if (!found.isText && !isInteger && literals.length === 0) return undefined;
  if (found.isText || !isInteger || !literals.every((literal) => INTEGER.test(literal)))
    return { kind: "string", literals };
  return { kind: found.isWide ? "int64" : "int", literals: [] };
}

/** Whether data is whole numbers in decimal, and how large. What may have leading zeros that mean something is text. */
function integerWidth({ type, params }: DataPattern): "narrow" | "wide" | undefined {
  const { pattern, minInclusive, maxInclusive } = params;
  if (pattern !== undefined && !PLAIN_DIGITS.has(pattern)) return undefined;
  if (NARROW.has(type)) return "narrow";
  if (!WIDE.has(type)) return undefined;
  const isSafe = [minInclusive, maxInclusive].every((end) => end !== undefined && Number.isSafeInteger(Number(end)));
  return isSafe ? "narrow" : "wide";
}

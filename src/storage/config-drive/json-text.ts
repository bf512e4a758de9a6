/** JSON that YAML 1.1 reads as the same data: what parsers of YAML take for line breaks, or refuse, is escaped. */
import type { JsonValue } from "../../core/index.js";

const UNSAFE = /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g;

export function jsonText(value: JsonValue): string {
  const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return `${JSON.stringify(value, undefined, 2).replace(UNSAFE, escaped)}\n`;
}

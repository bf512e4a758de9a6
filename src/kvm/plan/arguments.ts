/** How values get into QEMU's arguments without becoming more than values. */
import type { JsonObject, JsonValue } from "../../core/index.js";

/** A text within a comma-separated option. */
export function escapeOption(text: string): string {
  return text.replaceAll(",", ",,");
}

export function device(properties: JsonObject): string[] {
  return ["-device", JSON.stringify(properties)];
}

export function object(properties: JsonObject): string[] {
  return ["-object", JSON.stringify(properties)];
}

/** An option of `key=value` pairs, escaped; those without a value are left out. */
export function pairs(
  first: string | undefined,
  members: { readonly [key: string]: string | number | boolean | undefined },
): string {
  const text = (value: string | number | boolean): string =>
    typeof value === "boolean" ? (value ? "on" : "off") : escapeOption(String(value));
  const rest = Object.entries(members).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${text(value)}`],
  );
  return [...(first === undefined ? [] : [first]), ...rest].join(",");
}

/** The members that have a value. */
export function defined(members: { readonly [key: string]: JsonValue | undefined }): JsonObject {
  return Object.fromEntries(
    Object.entries(members).filter((entry): entry is [string, JsonValue] => entry[1] !== undefined),
  );
}

/** The types of what JSON can carry: what state stores, journals and handles keep and pass on. */

/** A value that survives `JSON.parse(JSON.stringify(value))` unchanged. */
export type JsonValue = string | number | boolean | null | JsonObject | readonly JsonValue[];

/** An object of JSON values. */
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

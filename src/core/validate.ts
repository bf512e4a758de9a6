/** The checks that specs pass at the door: `check.object({ name: check.string(), … })(input, "spec")`. */
import * as structure from "./validate-structure.js";
import * as text from "./validate-text.js";

/**
 * Builders of checks. Each check takes a value and its path and returns the value typed, as plain frozen data, or throws an
 * `InvalidArgumentError` naming the path. Accessors are never called, prototypes never followed, sizes always bounded.
 */
export const check = {
  string: text.string,
  secret: text.secret,
  integer: text.integer,
  number: text.number,
  boolean: text.boolean,
  oneOf: text.oneOf,
  uuid: text.uuid,
  mac: text.mac,
  ipAddress: text.ipAddress,
  cidr: text.cidr,
  hostname: text.hostname,
  absolutePath: text.absolutePath,
  object: structure.object,
  optional: structure.optional,
  withDefault: structure.withDefault,
  nullable: structure.nullable,
  array: structure.array,
  record: structure.record,
  variants: structure.variants,
  lazy: structure.lazy,
  refine: structure.refine,
  map: structure.map,
  guarded: structure.guarded,
  json: structure.json,
} as const;

export type { Check, Checked, ObjectOf, OptionalCheck, Shape } from "./validate-structure.js";
export type { Charset, StringRules } from "./validate-text.js";

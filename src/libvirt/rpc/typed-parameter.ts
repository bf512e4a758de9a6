/** Typed parameters: a name with a value whose C type the receiver must be told. */
import { InvalidArgumentError } from "../../core/index.js";
import type { KnownTypedParameters } from "./protocol/typed-parameter-types.gen.js";
import { PARAMETER_TYPES } from "./protocol/typed-parameters.gen.js";

/** The seven types, by `VIR_TYPED_PARAM_…`. */
export const TYPED_PARAMETER_TYPES = {
  int: 1,
  uint: 2,
  llong: 3,
  ullong: 4,
  double: 5,
  boolean: 6,
  string: 7,
} as const;

export type TypedParameterType = keyof typeof TYPED_PARAMETER_TYPES;

interface ValueOfType {
  readonly int: number;
  readonly uint: number;
  readonly llong: bigint;
  readonly ullong: bigint;
  readonly double: number;
  readonly boolean: boolean;
  readonly string: string;
}

/** A value with its type said. */
export type TypedValue = {
  readonly [T in TypedParameterType]: { readonly type: T; readonly value: ValueOfType[T] };
}[TypedParameterType];

/** One typed parameter as it stands on the wire. */
export type TypedParameter = TypedValue & { readonly field: string };

export type ParameterValue = number | bigint | boolean | string;

/** What parameters are read as: by name, `bigint` for the 64-bit types; a list where a name comes several times. */
export type TypedParameterValues = KnownTypedParameters & {
  readonly [field: string]: ParameterValue | readonly ParameterValue[];
};

/**
 * What parameters may be given as: plain values by name, a list for a name that comes several times, or a value with its
 * type said (`{ type: "uint", value: 3 }`). Where libvirt wants 64 bits, a number will do as well as a bigint.
 */
export type TypedParameterInput = {
  readonly [K in keyof KnownTypedParameters]?: Plain<KnownTypedParameters[K]> | TypedValue | undefined;
} & {
  readonly [field: string]: ParameterValue | TypedValue | readonly (ParameterValue | TypedValue)[] | undefined;
};

type Plain<T> = T extends bigint ? bigint | number : T;

const CODES: Readonly<Record<string, TypedParameterType>> = {
  i: "int",
  u: "uint",
  l: "llong",
  L: "ullong",
  d: "double",
  b: "boolean",
  s: "string",
};

let known: ReadonlyMap<string, TypedParameterType> | undefined;

/** The type that libvirt's drivers want for a parameter, for those of libvirt 11.3 and before; `undefined` for others. */
export function knownParameterType(field: string): TypedParameterType | undefined {
  known ??= new Map(
    PARAMETER_TYPES.trim()
      .split("\n")
      .flatMap((line) => {
        const type = CODES[line.charAt(0)];
        return type === undefined
          ? []
          : line
              .slice(2)
              .split(" ")
              .map((name) => [name, type] as const);
      }),
  );
  return known.get(field);
}

/** Parameters by name. */
export function parametersToObject(parameters: readonly TypedParameter[]): TypedParameterValues {
  const values = new Map<string, ParameterValue | ParameterValue[]>();
  for (const { field, value } of parameters) {
    const before = values.get(field);
    if (before === undefined) values.set(field, value);
    else if (Array.isArray(before)) before.push(value);
    else values.set(field, [before, value]);
  }
  // A field may be called __proto__ for all we know.
  return Object.fromEntries(values);
}

/**
 * Parameters from an object. A plain value has the type that libvirt knows for the name; for other names a boolean is a
 * boolean, a text a string, a bigint 64 bits wide (unsigned unless negative), and a number must be given with its type.
 * Throws `InvalidArgumentError` with a path below `path`.
 */
export function parametersFromObject(input: TypedParameterInput, path: string): TypedParameter[] {
  return Object.entries(input).flatMap(([field, given]) => {
    if (given === undefined) return [];
    const values: readonly (ParameterValue | TypedValue)[] = isList(given) ? given : [given];
    return values.map((value): TypedParameter => {
      const typed = typeof value === "object" ? value : withType(field, value, `${path}.${field}`);
      return { field, ...typed };
    });
  });
}

function withType(field: string, value: ParameterValue, path: string): TypedValue {
  const type = knownParameterType(field) ?? guess(value);
  if (type === undefined) {
    const expected =
      'a value with its type, such as { type: "ullong", value: 1n }: libvirt has no parameter of that name';
    throw new InvalidArgumentError({ field: path, value, expected });
  }
  switch (type) {
    case "llong":
    case "ullong":
      if (typeof value === "bigint") return { type, value };
      if (typeof value === "number" && Number.isSafeInteger(value)) return { type, value: BigInt(value) };
      break;
    case "int":
    case "uint":
      if (typeof value === "number") return { type, value };
      if (typeof value === "bigint" && BigInt.asIntN(54, value) === value) return { type, value: Number(value) };
      break;
    case "double":
      if (typeof value === "number") return { type, value };
      break;
    case "boolean":
      if (typeof value === "boolean") return { type, value };
      break;
    case "string":
      if (typeof value === "string") return { type, value };
  }
  throw new InvalidArgumentError({ field: path, value, expected: `a value of the type ${type}` });
}

function guess(value: ParameterValue): TypedParameterType | undefined {
  if (typeof value === "boolean") return "boolean";
  if (typeof value === "string") return "string";
  if (typeof value === "bigint") return value < 0n ? "llong" : "ullong";
  return undefined;
}

function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value);
}

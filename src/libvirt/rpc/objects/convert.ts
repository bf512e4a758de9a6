/** Between what methods take and give and what the codec does: plain values on one side, wire forms on the other. */
import type { TypeNode } from "../protocol/type-node.js";
import { parametersFromObject, parametersToObject } from "../typed-parameter.js";
import type { TypedParameter, TypedParameterInput } from "../typed-parameter.js";
import { isFlag } from "./method-plan.js";
import { isObjectKind } from "./object-kind.js";
import type { ObjectKind } from "./object-kind.js";

/** Makes the handle of an object from what refers to it. */
export type MakeHandle = (kind: ObjectKind, reference: object) => object;

/** Makes of a read value what a method gives; `undefined` where the two are the same. */
type Wrap = ((value: unknown, make: MakeHandle) => unknown) | undefined;

/** Lists of names with numbers that are older than typed parameters. */
const NAMED_NUMBERS = ["NodeGetCpuStats", "NodeGetMemoryStats"];

const wraps = new WeakMap<TypeNode, { readonly wrap: Wrap }>();

/** An argument in the form that the codec writes. What does not fit is left for the codec to refuse. */
export function toWire(name: string, type: TypeNode, value: unknown): unknown {
  if (type.kind === "optional") return value === undefined ? undefined : toWire(name, type.of, value);
  if (type.kind === "hyper" || type.kind === "uhyper")
    return Number.isSafeInteger(value) ? BigInt(value as number) : value;
  if (type.kind === "array" && Array.isArray(value)) return value.map((item) => toWire("", type.of, item));
  if (isFlag({ name, type })) return typeof value === "boolean" ? Number(value) : value;
  if (type.kind === "array" && type.of.kind === "typedParameter" && isRecord(value)) {
    return parametersFromObject(value as TypedParameterInput, `arguments.${name}`);
  }
  return value;
}

/** A result with handles in the place of references, and typed parameters as objects. */
export function fromWire(type: TypeNode, value: unknown, make: MakeHandle): unknown {
  const wrap = wrapOf(type);
  return wrap === undefined ? value : wrap(value, make);
}

function wrapOf(type: TypeNode): Wrap {
  let known = wraps.get(type);
  if (known === undefined) {
    known = { wrap: compile(type) };
    wraps.set(type, known);
  }
  return known.wrap;
}

function compile(type: TypeNode): Wrap {
  if (type.kind === "optional") {
    const inner = wrapOf(type.of);
    return inner && ((value, make) => (value === undefined ? undefined : inner(value, make)));
  }
  if (type.kind === "array") {
    if (isNamedValues(type)) return (value) => parametersToObject(value as readonly TypedParameter[]);
    const inner = wrapOf(type.of);
    return inner && ((value, make) => (value as readonly unknown[]).map((item) => inner(item, make)));
  }
  if (type.kind !== "struct") return undefined;
  const { name } = type;
  if (isObjectKind(name)) return (value, make) => make(name, value as object);
  const inner = type.fields.flatMap((field) => {
    const wrap = wrapOf(field.type);
    return wrap === undefined ? [] : [[field.name, wrap] as const];
  });
  if (inner.length === 0) return undefined;
  return (value, make) => {
    const result = { ...(value as Record<string, unknown>) };
    for (const [member, wrap] of inner) if (Object.hasOwn(result, member)) result[member] = wrap(result[member], make);
    return result;
  };
}

/** Whether a list is of names with values, and read as an object. */
export function isNamedValues(type: TypeNode): boolean {
  if (type.kind !== "array") return false;
  const { of } = type;
  return of.kind === "typedParameter" || (of.kind === "struct" && NAMED_NUMBERS.includes(of.name ?? ""));
}

function isRecord(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

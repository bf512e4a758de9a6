/**
 * From a procedure to the method that calls it: one set of rules, by which the methods are made at run time and their types
 * are generated.
 *
 * - A procedure whose first argument refers to an object is a method of that object's handle; others are the client's.
 * - A method's name is the procedure's less its owner's prefix. Where something is looked up, defined, created or restored,
 *   the verb comes first: `lookupDomainByName`, `pool.createStorageVolXml`.
 * - What a call can't do without is positional, in C's order; flags and what may be left out stand in the last argument.
 * - Sizes that C callers pass are filled in, counts that they get back are left out, and a single value comes bare.
 */
import type { ProcedureEntry } from "../protocol/read-tables.js";
import type { FieldNode, TypeNode } from "../protocol/type-node.js";
import { OBJECT_KINDS, OBJECT_KIND_NAMES, isObjectKind } from "./object-kind.js";
import type { ObjectKind } from "./object-kind.js";

/** Whose method it is. */
export type Owner = ObjectKind | "client";

export type ResultPlan =
  | { readonly kind: "nothing" }
  | { readonly kind: "stream" }
  | { readonly kind: "value"; readonly field: FieldNode; readonly boolean: boolean }
  | { readonly kind: "object"; readonly fields: readonly FieldNode[] }
  /** Rows of processors, which need to know how many there are. */
  | { readonly kind: "vcpus" | "vcpuPins" | "emulatorPin" | "cpuStats" };

export interface MethodPlan {
  readonly procedure: ProcedureEntry;
  readonly owner: Owner;
  readonly method: string;
  /** The argument that is the handle, and whether it goes as the reference or as its name alone. */
  readonly self?: { readonly field: string; readonly as: "reference" | "name" };
  readonly positional: readonly FieldNode[];
  /** With `flags`, where the procedure has them. */
  readonly optional: readonly FieldNode[];
  /** Arguments that are always the same. */
  readonly filled: ReadonlyMap<string, number>;
  /** Whether the count of parameters is asked for first. */
  readonly counted: boolean;
  readonly result: ResultPlan;
}

/** What the connection does by itself, or what streams of events are for. */
const NOT_METHODS =
  /^(auth[A-Z]|connect(Open|Close|SupportsFeature|(Unr|R)egisterCloseCallback)$|connect.*Event\w*?(R|Der)egister)/;
const VERB_FIRST = /^(Lookup|Create|Define|Restore)/;
/** Sizes of the buffers that a C caller has ready; here they are as large as the protocol allows. */
const SIZES = ["maxids", "maxnames", "maxuuids", "maxerrors", "maxcells", "maxStats"];
/** How many there are of what comes anyway. */
const COUNTS = ["ret", "num", "nparams", "nerrors"];
const CPU_RESULTS: Readonly<Record<string, "vcpus" | "vcpuPins" | "emulatorPin" | "cpuStats">> = {
  domainGetVcpus: "vcpus",
  domainGetVcpuPinInfo: "vcpuPins",
  domainGetEmulatorPinInfo: "emulatorPin",
  domainGetCpuStats: "cpuStats",
};
const CPU_SIZES = ["maplen", "maxinfo", "ncpumaps"];

/** The plan of a procedure; `undefined` for events and for what is no method. */
export function planMethod(procedure: ProcedureEntry): MethodPlan | undefined {
  if (procedure.kind === "event" || NOT_METHODS.test(procedure.name)) return undefined;
  const self = selfOf(procedure);
  const owner = self?.owner ?? "client";
  const rest = procedure.arguments.fields.filter((field) => field.name !== self?.field);
  const filled = new Map<string, number>();
  const most = procedure.result.fields.find(isList)?.type.max ?? 0;
  let counted = false;
  const positional: FieldNode[] = [];
  const optional: FieldNode[] = [];
  for (const field of rest) {
    const { name, type } = field;
    if (name === "needResults") filled.set(name, 1);
    else if (SIZES.includes(name)) filled.set(name, most);
    else if (name === "nparams") {
      counted = procedure.result.fields.some((result) => result.name === name);
      filled.set(name, most);
    } else if (CPU_SIZES.includes(name)) filled.set(name, 0);
    else if (name === "flags" || type.kind === "optional") optional.push(field);
    else positional.push(field);
  }
  const method = methodName(procedure.name, owner);
  return {
    procedure,
    owner,
    method,
    ...(self === undefined ? {} : { self: { field: self.field, as: self.as } }),
    positional,
    optional,
    filled,
    counted,
    result: planResult(procedure, method),
  };
}

function selfOf(procedure: ProcedureEntry): { owner: ObjectKind; field: string; as: "reference" | "name" } | undefined {
  const [first] = procedure.arguments.fields;
  if (first === undefined) return undefined;
  const { name, type } = first;
  if (type.kind === "struct" && isObjectKind(type.name)) return { owner: type.name, field: name, as: "reference" };
  // Node devices are the one kind that procedures refer to by name.
  const byName = type.kind === "string" && name === "name" && /^nodeDevice(?!Lookup)/.test(procedure.name);
  return byName ? { owner: "NodeDevice", field: name, as: "name" } : undefined;
}

function methodName(name: string, owner: Owner): string {
  const prefix = owner === "client" ? "connect" : OBJECT_KINDS[owner].prefix;
  const family = familyOf(name);
  if (family !== undefined && OBJECT_KINDS[family].prefix !== prefix) {
    const rest = name.slice(OBJECT_KINDS[family].prefix.length);
    const [verb] = VERB_FIRST.exec(rest) ?? [];
    const what = family.startsWith(owner) ? family.slice(owner.length) : family;
    if (verb !== undefined) return `${verb.toLowerCase()}${what}${rest.slice(verb.length)}`;
  }
  // A snapshot's and a checkpoint's procedures may be called after the domain.
  const base = [prefix, prefix.replace(/(Snapshot|Checkpoint)$/, "")].find((start) => hasPrefix(name, start));
  if (base === undefined) return name;
  const rest = name.slice(base.length);
  return rest.charAt(0).toLowerCase() + rest.slice(1);
}

/** The kind of object whose procedures' names begin so; the longest of them. */
function familyOf(name: string): ObjectKind | undefined {
  const kinds = OBJECT_KIND_NAMES.filter((kind) => hasPrefix(name, OBJECT_KINDS[kind].prefix));
  return kinds.sort((a, b) => b.length - a.length)[0];
}

function hasPrefix(name: string, prefix: string): boolean {
  return name.startsWith(prefix) && /[A-Z]/.test(name.charAt(prefix.length));
}

function planResult({ name, result, stream }: ProcedureEntry, method: string): ResultPlan {
  if (stream !== undefined) return { kind: "stream" };
  const special = CPU_RESULTS[name];
  if (special !== undefined) return { kind: special };
  const listed = result.fields.some(isList);
  const fields = result.fields.filter((field) => !(listed && COUNTS.includes(field.name)));
  const [field] = fields;
  if (field === undefined) return { kind: "nothing" };
  if (fields.length > 1) return { kind: "object", fields };
  return {
    kind: "value",
    field,
    boolean: isFlag(field) || (field.type.kind === "int" && /^(is|has)[A-Z]/.test(method)),
  };
}

/** Whether a number stands for yes or no. */
export function isFlag({ name, type }: FieldNode): boolean {
  return type.kind === "int" && name === "autostart";
}

function isList(field: FieldNode): field is FieldNode & { readonly type: Extract<TypeNode, { kind: "array" }> } {
  return field.type.kind === "array";
}

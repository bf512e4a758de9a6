/** One class for each kind of object, and the handles made of them. */
import { structNamed } from "../protocol/schema.js";
import { OBJECT_KINDS, OBJECT_KIND_NAMES, isObjectKind } from "./object-kind.js";
import type { ObjectKind } from "./object-kind.js";
import { methodsClass } from "./object-handle.js";
import type { MethodContext } from "./object-handle.js";
import type { RpcCaller } from "./rpc-caller.js";

type HandleClass = new (context: MethodContext, reference: object) => object;

const classes = new Map<ObjectKind, HandleClass>(
  OBJECT_KIND_NAMES.map((kind) => {
    const Handle = class extends methodsClass<object>(kind) {};
    Object.defineProperty(Handle, "name", { value: OBJECT_KINDS[kind].handle });
    return [kind, Handle];
  }),
);

/** What methods of a connection's handles work with. */
export function methodContext(caller: RpcCaller): MethodContext {
  const context: MethodContext = { caller, make: (kind, reference) => makeHandle(context, kind, reference) };
  return context;
}

/** The handle of what a reference is to; a reference within it, such as a snapshot's to its domain, becomes a handle too. */
export function makeHandle(context: MethodContext, kind: ObjectKind, reference: object): object {
  const Handle = classes.get(kind);
  if (Handle === undefined) throw new TypeError(`${kind} is no kind of object`);
  const members = reference as Readonly<Record<string, unknown>>;
  const own = structNamed(kind).fields.map(({ name, type }) => {
    const inner = type.kind === "struct" && isObjectKind(type.name) ? type.name : undefined;
    return [name, inner === undefined ? members[name] : makeHandle(context, inner, members[name] as object)];
  });
  return new Handle(context, Object.fromEntries(own) as object);
}

/** Of what kind of object a value is the handle; `undefined` when it is none. */
export function handleKind(value: unknown): ObjectKind | undefined {
  return OBJECT_KIND_NAMES.find((kind) => {
    const Handle = classes.get(kind);
    return Handle !== undefined && value instanceof Handle;
  });
}

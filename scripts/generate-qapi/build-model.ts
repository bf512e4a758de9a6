/** From the expressions of one release to a model. */
import type { Branch, Command, Data, Event, Marks, Member, Model, NamedType, TypeRef, Value } from "./model.js";
import type { Expression, SchemaValue } from "./read-schema.js";

type Body = Expression["body"];

export function buildModel(version: string, expressions: readonly Expression[]): Model {
  const types = new Map<string, NamedType>();
  const commands = new Map<string, Command>();
  const events = new Map<string, Event>();
  for (const { body, since } of expressions) {
    const marks = marksOf(body, version, since);
    const name = (kind: string): string => text(body[kind]);
    if ("command" in body) commands.set(name("command"), buildCommand(body, marks, version));
    else if ("event" in body)
      events.set(name("event"), { ...marks, name: name("event"), data: dataOf(body["data"], version) });
    else {
      const type = buildType(body, marks, version);
      types.set(type.name, type);
    }
  }
  return { versions: [version], types, commands, events };
}

function buildCommand(body: Body, marks: Marks, version: string): Command {
  return {
    ...marks,
    name: text(body["command"]),
    data: dataOf(body["data"], version),
    open: body["gen"] === false,
    returns: body["returns"] === undefined ? undefined : refOf(body["returns"]),
    oob: body["allow-oob"] === true,
    answers: body["success-response"] !== false,
  };
}

function buildType(body: Body, marks: Marks, version: string): NamedType {
  if ("enum" in body)
    return {
      ...marks,
      kind: "enum",
      name: text(body["enum"]),
      values: list(body["data"]).map((v) => valueOf(v, version)),
    };
  if ("struct" in body) {
    const base = body["base"] === undefined ? undefined : text(body["base"]);
    return { ...marks, kind: "struct", name: text(body["struct"]), base, members: membersOf(body["data"], version) };
  }
  if ("alternate" in body) {
    const types = Object.values(object(body["data"])).map((type) => refOf(isObject(type) ? type["type"] : type));
    return { ...marks, kind: "alternate", name: text(body["alternate"]), types };
  }
  if (!("union" in body)) throw new Error(`unknown kind of expression: ${JSON.stringify(body)}`);
  const { base, discriminator } = body;
  const branches = Object.entries(object(body["data"])).map(([value, type]): Branch => {
    const spec = isObject(type) ? type : { type: type as SchemaValue };
    return { ...marksOf(spec, version, undefined), value, type: text(spec["type"]) };
  });
  return {
    ...marks,
    kind: "union",
    name: text(body["union"]),
    base: typeof base === "string" ? base : membersOf(base, version),
    discriminator: text(discriminator),
    branches,
  };
}

function dataOf(data: SchemaValue | undefined, version: string): Data {
  return typeof data === "string" ? { type: data } : { members: data === undefined ? [] : membersOf(data, version) };
}

function membersOf(data: SchemaValue | undefined, version: string): Member[] {
  return Object.entries(object(data)).map(([key, spec]): Member => {
    const optional = key.startsWith("*");
    const type = isObject(spec) ? spec["type"] : spec;
    const marks = marksOf(isObject(spec) ? spec : {}, version, undefined);
    return { ...marks, name: optional ? key.slice(1) : key, optional, types: [refOf(type)] };
  });
}

function valueOf(value: SchemaValue, version: string): Value {
  const spec = isObject(value) ? value : { name: value };
  return { ...marksOf(spec, version, undefined), name: text(spec["name"]) };
}

function refOf(type: SchemaValue | undefined): TypeRef {
  const [item] = Array.isArray(type) ? list(type) : [];
  return item === undefined ? { name: text(type), list: false } : { name: text(item), list: true };
}

function marksOf(body: Body, version: string, since: string | undefined): Marks {
  const features =
    body["features"] === undefined ? [] : list(body["features"]).map((f) => (isObject(f) ? text(f["name"]) : text(f)));
  return {
    since,
    deprecated: features.includes("deprecated"),
    unstable: features.includes("unstable"),
    condition: body["if"] === undefined ? undefined : conditionOf(body["if"]),
    versions: [version],
  };
}

function conditionOf(condition: SchemaValue): string {
  if (typeof condition === "string") return condition;
  const [[operator, operands] = ["", ""]] = Object.entries(object(condition));
  if (operator === "not") return `not ${conditionOf(operands)}`;
  return list(operands)
    .map(conditionOf)
    .join(operator === "any" ? " or " : " and ");
}

function isObject(value: SchemaValue | undefined): value is Body {
  return typeof value === "object" && !Array.isArray(value);
}

function object(value: SchemaValue | undefined): Body {
  if (!isObject(value)) throw new Error(`expected an object, found ${JSON.stringify(value)}`);
  return value;
}

function list(value: SchemaValue | undefined): readonly SchemaValue[] {
  if (!Array.isArray(value)) throw new Error(`expected a list, found ${JSON.stringify(value)}`);
  return value as readonly SchemaValue[];
}

function text(value: SchemaValue | undefined): string {
  if (typeof value !== "string") throw new Error(`expected a string, found ${JSON.stringify(value)}`);
  return value;
}

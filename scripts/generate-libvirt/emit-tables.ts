/** The tables that the codec works by: one line for each structure and each procedure, in the notation of `type-node.ts`. */
import type { MergedProgram, ReleasedProcedure } from "./merge-programs.js";
import type { Field, FieldType, NumberKind } from "./protocol-model.js";

const LETTERS: Readonly<Record<NumberKind, string>> = {
  int: "i",
  "unsigned int": "u",
  hyper: "l",
  "unsigned hyper": "L",
  double: "d",
  char: "c",
  "unsigned char": "C",
  "unsigned short": "w",
};

/** The structures that procedures refer to, and `Error`; in the order in which they are first needed. */
export function usedStructs(programs: readonly MergedProgram[]): Map<string, readonly Field[]> {
  const all = new Map(programs.flatMap((program) => [...program.structs]));
  const used = new Map<string, readonly Field[]>();
  const need = (name: string): void => {
    if (used.has(name)) return;
    const fields = all.get(name);
    if (fields === undefined) throw new Error(`structure ${name} is not defined`);
    used.set(name, fields);
    fields.forEach((field) => look(field.type));
  };
  const look = (type: FieldType): void => {
    if (type.kind === "struct") need(type.name);
    else if (type.kind === "optional" || type.kind === "array") look(type.of);
  };
  for (const { procedures } of programs) {
    for (const procedure of procedures) [...procedure.arguments, ...procedure.result].forEach(({ type }) => look(type));
  }
  need("Error");
  return used;
}

export function structTable(structs: ReadonlyMap<string, readonly Field[]>): string {
  return [...structs].map(([name, fields]) => `${name} ${fieldsOf(fields)}`).join("\n");
}

export function procedureTable(program: MergedProgram): string {
  return program.procedures.map(procedureLine).join("\n");
}

function procedureLine(procedure: ReleasedProcedure): string {
  const { name, event, high, stream, sparse, fds, stringsAsked, flags } = procedure;
  const marks = [
    event ? "e" : "",
    high ? "h" : "",
    stream === undefined ? "" : { read: "r", write: "w", both: "x" }[stream],
    sparse ? "s" : "",
    fds ? "f" : "",
    stringsAsked ? "p" : "",
  ].join("");
  const head = marks === "" ? name : `${name} ${marks}`;
  const named = procedure.arguments.some((field) => field.name === "flags") ? flags : [];
  const parts = [head, fieldsOf(procedure.arguments), fieldsOf(procedure.result), named.join(",")];
  return parts.join("|").replace(/\|+$/, "");
}

function fieldsOf(fields: readonly Field[]): string {
  return fields.map(({ name, type }) => `${name}:${notation(type)}`).join(" ");
}

function notation(type: FieldType): string {
  switch (type.kind) {
    case "number":
      return LETTERS[type.of];
    case "string":
      return "s";
    case "uuid":
      return "g";
    case "typedParameter":
      return "p";
    case "opaque":
      return `o${type.max}`;
    case "charBytes":
      return `b${type.max}`;
    case "text":
      return `${type.fixed ? "T" : "t"}${type.length}`;
    case "struct":
      return `@${type.name}`;
    case "optional":
      return `?${notation(type.of)}`;
    case "array":
      return `${notation(type.of)}*${type.max}`;
  }
}

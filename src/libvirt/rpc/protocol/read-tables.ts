/** Reads the generated tables: one line for each structure and each procedure. */
import type { Procedure, ProgramName } from "../procedure.js";
import { parseFields } from "./type-node.js";
import type { StructNode } from "./type-node.js";

/** A procedure with what only the codec and the object handles need to know. */
export interface ProcedureEntry extends Procedure {
  /** Arguments, or the payload of an event. */
  readonly arguments: StructNode;
  readonly result: StructNode;
  /** The daemon sends strings among typed parameters only when a flag asks for them. */
  readonly stringsAsked: boolean;
  /** The enumerations that name the bits of `flags`. */
  readonly flagNames: readonly string[];
}

export type StructLookup = (name: string) => StructNode;

const STREAMS = { r: "read", w: "write", x: "both" } as const;

/** Structures by name, each read when it is first asked for. Throws `TypeError` for a name that the table lacks. */
export function readStructs(table: string): StructLookup {
  const texts = new Map(lines(table).map((line) => cut(line, " ")));
  const structs = new Map<string, StructNode>();
  const lookup = (name: string): StructNode => {
    const known = structs.get(name);
    if (known !== undefined) return known;
    const text = texts.get(name);
    if (text === undefined) throw new TypeError(`the tables hold no structure ${name}`);
    const struct: StructNode = { kind: "struct", name, fields: parseFields(text, lookup) };
    structs.set(name, struct);
    return struct;
  };
  return lookup;
}

/** Lines of `name marks|arguments|result|flags`; number `n` stands at `n - 1`. Types are read when they are first needed. */
export function readProcedures(program: ProgramName, table: string, structOf: StructLookup): readonly ProcedureEntry[] {
  return lines(table).map((line, i) => {
    const [head = "", args = "", result = "", flags = ""] = line.split("|");
    const [name, marks] = cut(head, " ");
    const stream = Object.entries(STREAMS).find(([mark]) => marks.includes(mark))?.[1];
    return {
      program,
      name,
      number: i + 1,
      kind: marks.includes("e") ? "event" : "call",
      ...(stream === undefined ? {} : { stream }),
      ...(marks.includes("s") ? { sparseFlag: true } : {}),
      ...(marks.includes("f") ? { passesFds: true } : {}),
      priority: marks.includes("h") ? "high" : "low",
      arguments: lazyStruct(args, structOf),
      result: lazyStruct(result, structOf),
      stringsAsked: marks.includes("p"),
      flagNames: flags === "" ? [] : flags.split(","),
    };
  });
}

function lazyStruct(text: string, structOf: StructLookup): StructNode {
  let fields: StructNode["fields"] | undefined;
  return {
    kind: "struct",
    get fields() {
      fields ??= parseFields(text, structOf);
      return fields;
    },
  };
}

function lines(table: string): string[] {
  return table.trim().split("\n");
}

function cut(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}

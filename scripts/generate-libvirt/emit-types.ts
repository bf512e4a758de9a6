/** The types of the procedures: what each takes and gives, as the codec reads and writes it. */
import type { MergedProgram, ReleasedProcedure } from "./merge-programs.js";
import { pascalCase } from "./names.js";
import type { Field, FieldType } from "./protocol-model.js";

/** `RemoteDomain` for the structure `Domain`. */
export function structTypeName(name: string): string {
  return `Remote${name}`;
}

export function emitStructs(structs: ReadonlyMap<string, readonly Field[]>): string {
  const interfaces = [...structs].filter(([name]) => name !== "Error").sort(([a], [b]) => (a < b ? -1 : 1));
  return interfaces
    .map(([name, fields]) => `export interface ${structTypeName(name)} ${members(fields, "")}\n`)
    .join("\n");
}

/** The structures that a program's procedures name. */
export function namedStructs(program: MergedProgram): string[] {
  const names = new Set<string>();
  const look = (type: FieldType): void => {
    if (type.kind === "struct") names.add(structTypeName(type.name));
    else if (type.kind === "optional" || type.kind === "array") look(type.of);
  };
  for (const procedure of program.procedures) {
    for (const field of [...procedure.arguments, ...procedure.result]) look(field.type);
  }
  return [...names].sort();
}

export function emitProcedures(program: MergedProgram, oldest: string): string {
  const title = pascalCase([program.program]);
  const calls = program.procedures.filter((procedure) => !procedure.event);
  const events = program.procedures.filter((procedure) => procedure.event);
  const parts = [
    `/** The calls of the program \`${program.program}\`: what each takes and what it gives. */`,
    `export interface ${title}Procedures {\n${calls.map((procedure) => call(procedure, oldest)).join("\n")}\n}`,
  ];
  if (events.length > 0) {
    const lines = events.map(
      (procedure) => `${since(procedure, oldest)}  readonly ${procedure.name}: ${members(procedure.arguments, "  ")};`,
    );
    parts.push(
      `/** The events of the program \`${program.program}\`: what each brings. */`,
      `export interface ${title}Events {\n${lines.join("\n")}\n}`,
    );
  }
  return `${parts.join("\n")}\n`;
}

function call(procedure: ReleasedProcedure, oldest: string): string {
  const args = members(procedure.arguments, "    ");
  const result = members(procedure.result, "    ");
  return `${since(procedure, oldest)}  readonly ${procedure.name}: {\n    readonly arguments: ${args};\n    readonly result: ${result};\n  };`;
}

export function since({ release, since: version }: ReleasedProcedure, oldest: string): string {
  if (version !== undefined) return `  /** @since libvirt ${version} */\n`;
  return release === oldest ? "" : `  /** Not in libvirt ${oldest}. */\n`;
}

function members(fields: readonly Field[], indent: string): string {
  if (fields.length === 0) return "Nothing";
  const lines = fields.map(({ name, type }) => {
    if (type.kind === "optional") return `${indent}  readonly ${name}?: ${typeName(type.of)} | undefined;`;
    return `${indent}  readonly ${name}: ${typeName(type)};`;
  });
  return `{\n${lines.join("\n")}\n${indent}}`;
}

export function typeName(type: FieldType): string {
  switch (type.kind) {
    case "number":
      return type.of === "hyper" || type.of === "unsigned hyper" ? "bigint" : "number";
    case "string":
    case "uuid":
    case "text":
      return "string";
    case "typedParameter":
      return "TypedParameter";
    case "opaque":
    case "charBytes":
      return "Uint8Array";
    case "struct":
      return structTypeName(type.name);
    case "optional":
      return `${typeName(type.of)} | undefined`;
    case "array":
      return `readonly ${typeName(type.of)}[]`;
  }
}

/** From folders of libvirt's sources to the generated files, as text. */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { readApi } from "./api-description.js";
import type { ApiDescription } from "./api-description.js";
import { emitEnums, emitParameterTypes, mergeEnums, parameterTable } from "./emit-constants.js";
import { emitMethods } from "./emit-methods.js";
import { procedureTable, structTable, usedStructs } from "./emit-tables.js";
import { emitProcedures, emitStructs, namedStructs } from "./emit-types.js";
import { mergePrograms } from "./merge-programs.js";
import type { MergedProgram } from "./merge-programs.js";
import { buildProgram } from "./protocol-model.js";
import { parseProtocol } from "./protocol-parser.js";
import type { Protocol } from "./protocol-parser.js";

export interface Source {
  readonly version: string;
  readonly folder: string;
}

const PROGRAMS = ["remote", "qemu", "lxc"];
const FOLDER = "src/libvirt/rpc";
const ERROR_ENUMS = ["ErrorDomain", "ErrorLevel", "ErrorNumber"];

interface Release {
  readonly version: string;
  readonly api: ApiDescription;
  readonly protocols: ReadonlyMap<string, Protocol>;
}

/** The files by their paths, as they are to be written. */
export function generate(sources: readonly Source[]): Map<string, string> {
  const releases = sources.map(load);
  const [oldest = ""] = releases.map((release) => release.version);
  const programs = PROGRAMS.map((program) => mergePrograms(releases.map((release) => build(program, release))));
  const structs = usedStructs(programs);
  const enums = mergeEnums(releases.map((release) => release.api.enums));
  const parameters = releases.map((release) => release.api.parameters);

  const files = new Map<string, string>();
  const add = (name: string, what: string, ...parts: string[]): void => {
    files.set(`${FOLDER}/${name}.gen.ts`, [header(what, sources), ...parts].join("\n"));
  };
  for (const program of programs) {
    const { program: name } = program;
    add(
      `protocol/${name}-tables`,
      `The procedures of the program ${name}, for the codec: name, marks, arguments, result, flags.`,
      ...(name === "remote" ? [text("STRUCTS", structTable(structs))] : []),
      text(`${name.toUpperCase()}_PROCEDURES`, procedureTable(program)),
    );
    add(`protocol/${name}-types`, `The types of the program ${name}.`, ...types(program, structs, oldest));
  }
  add("protocol/enums", "libvirt's enumerations and flags.", emitEnums(without(enums, ERROR_ENUMS), oldest));
  add("protocol/error-codes", "What libvirt's errors are called.", emitEnums(only(enums, ERROR_ENUMS), oldest));
  add(
    "protocol/typed-parameters",
    "The types of typed parameters.",
    text("PARAMETER_TYPES", parameterTable(parameters)),
  );
  add(
    "protocol/typed-parameter-types",
    "The types of typed parameters, for the compiler.",
    emitParameterTypes(parameters),
  );
  add("objects/methods", "The methods of object handles.", emitMethods(programs, oldest));
  return files;
}

function load({ version, folder }: Source): Release {
  const read = (...path: string[]): string => readFileSync(join(folder, ...path), "utf8");
  const names = readdirSync(join(folder, "src"), { recursive: true, encoding: "utf8" });
  const sources = names.filter((name) => name.endsWith(".c")).sort();
  const api = readApi(
    ["libvirt-api.xml", "libvirt-qemu-api.xml", "libvirt-lxc-api.xml"].map((name) => read("api", name)),
    sources.map((name) => read("src", name)),
  );
  const protocols = PROGRAMS.map((name) => {
    const file = `${name}_protocol.x`;
    return [name, parseProtocol(read("src", "remote", file), file)] as const;
  });
  return { version, api, protocols: new Map(protocols) };
}

function build(program: string, { version, api, protocols }: Release): [string, ReturnType<typeof buildProgram>] {
  const protocol = protocols.get(program);
  const shared = protocols.get("remote");
  if (protocol === undefined || shared === undefined) throw new Error(`no protocol of ${program}`);
  return [version, buildProgram(program, protocol, shared, api)];
}

function types(program: MergedProgram, structs: ReturnType<typeof usedStructs>, oldest: string): string[] {
  const procedures = emitProcedures(program, oldest);
  const nothing = "/** No members. */\nexport type Nothing = Record<string, never>;\n";
  const parameter = `import type { TypedParameter } from "../typed-parameter.js";\n`;
  if (program.program === "remote") return [parameter, nothing, emitStructs(structs), procedures];
  const imported = [...(procedures.includes(" Nothing;") ? ["Nothing"] : []), ...namedStructs(program)];
  return [`import type { ${imported.join(", ")} } from "./remote-types.gen.js";\n`, procedures];
}

function text(name: string, table: string): string {
  return `export const ${name} = \`\n${table}\n\`;\n`;
}

function header(what: string, sources: readonly Source[]): string {
  const versions = sources.map((source) => source.version).join(" and ");
  return `/**\n * ${what} Of libvirt ${versions}.\n *\n * Generated by \`npm run generate:libvirt\`; do not edit.\n */`;
}

function only<T extends { readonly name: string }>(items: readonly T[], names: readonly string[]): T[] {
  return items.filter((item) => names.includes(item.name));
}

function without<T extends { readonly name: string }>(items: readonly T[], names: readonly string[]): T[] {
  return items.filter((item) => !names.includes(item.name));
}

/** What libvirt's own description of its C interface (`libvirt-api.xml`) says of functions, enumerations and typed parameters. */
import { pascalCase, words } from "./names.js";
import { readElements } from "./read-elements.js";
import type { Element } from "./read-elements.js";

export interface FunctionModel {
  /** Without `vir`. */
  readonly name: string;
  readonly cName: string;
  readonly since: string | undefined;
  /** The enumerations whose values its `flags` takes, without `vir`. */
  readonly flags: readonly string[];
}

export interface EnumModel {
  readonly name: string;
  readonly cName: string;
  readonly values: readonly { readonly constant: string; readonly value: number; readonly since: string | undefined }[];
}

export type ParameterType = "int" | "uint" | "llong" | "ullong" | "double" | "boolean" | "string";

export interface ParameterModel {
  readonly constant: string;
  readonly name: string;
  readonly type: ParameterType;
}

export interface ApiDescription {
  functionLike(program: string, constant: string): FunctionModel | undefined;
  asksForStrings(cName: string): boolean;
  constant(name: string): number | undefined;
  readonly enums: readonly EnumModel[];
  readonly parameters: readonly ParameterModel[];
}

/** The one function whose description lists its flags in prose instead of naming their type. */
const FLAGS_IN_PROSE: ReadonlyMap<string, string> = new Map([["virInterfaceGetXMLDesc", "InterfaceXmlFlags"]]);

const TYPE_WORDS: ReadonlyMap<string, ParameterType> = new Map([
  ["int", "int"],
  ["uint", "uint"],
  ["unsigned int", "uint"],
  ["llong", "llong"],
  ["long long", "llong"],
  ["ullong", "ullong"],
  ["unsigned long long", "ullong"],
  // libvirt's own mark for "either width"; what fits in both is sent as the wider.
  ["unsigned", "ullong"],
  ["double", "double"],
  ["bool", "boolean"],
  ["boolean", "boolean"],
  ["string", "string"],
]);

/**
 * @param texts the XML documents of the API
 * @param sources C sources of libvirt, for the types its drivers demand of parameters and the calls that ask for strings
 */
export function readApi(texts: readonly string[], sources: readonly string[]): ApiDescription {
  const elements = texts.flatMap((text) => readElements(text));
  const enums = enumsOf(elements);
  const enumNames = new Set(enums.map((type) => type.name));
  const functions = new Map<string, FunctionModel>();
  for (const element of elements) {
    if (element.name !== "function") continue;
    const cName = element.attributes.get("name") ?? "";
    functions.set(cName.toLowerCase(), {
      name: cName.slice("vir".length),
      cName,
      since: element.attributes.get("version"),
      flags: flagsOf(element, cName, enumNames),
    });
  }
  const values = new Map(enums.flatMap((type) => type.values.map((value) => [value.constant, value.value])));
  const macros = elements.filter((element) => element.name === "macro");
  const asking = new Set(sources.flatMap((source) => functionsAskingForStrings(source)));
  return {
    functionLike: (program, constant) => {
      const flat = constant.toLowerCase().replaceAll("_", "");
      if (program === "remote") return functions.get(`vir${flat}`);
      return functions.get(`vir${flat.replace(/^(connectdomain|connect|domain)/, `$1${program}`)}`);
    },
    asksForStrings: (cName) => asking.has(cName),
    constant: (name) => values.get(name) ?? numberOf(macros.find((macro) => macro.attributes.get("name") === name)),
    enums,
    parameters: parametersOf(macros, sources),
  };
}

function enumsOf(elements: readonly Element[]): EnumModel[] {
  const types = new Map<string, { constant: string; value: number; since: string | undefined }[]>();
  const values = elements.filter((element) => element.name === "enum").map(({ attributes }) => attributes);
  const texts = new Map(values.map((value) => [value.get("name"), value.get("value") ?? ""]));
  for (const attributes of values) {
    const type = attributes.get("type") ?? "";
    const constant = attributes.get("name") ?? "";
    const text = attributes.get("value") ?? "";
    // One enumeration may take its values from another.
    const value = Number(texts.get(text) ?? text);
    if (!type.startsWith("vir")) continue;
    if (text === "" || !Number.isSafeInteger(value)) throw new Error(`${constant} has no number`);
    const members = types.get(type) ?? [];
    types.set(type, members);
    members.push({ constant, value, since: attributes.get("version") });
  }
  return [...types].map(([type, members]) => {
    // The number of values is no value; "add last" is one.
    const greatest = Math.max(...members.map(({ value }) => value));
    const isCount = (constant: string, value: number): boolean => constant.endsWith("_LAST") && value === greatest;
    const named = members.filter(({ constant, value }) => !isCount(constant, value));
    return { name: enumName(type), cName: type, values: named };
  });
}

function flagsOf(element: Element, cName: string, enumNames: ReadonlySet<string>): string[] {
  const prose = FLAGS_IN_PROSE.get(cName);
  if (prose !== undefined) return [prose];
  const info = element.children.find((child) => child.attributes.get("name") === "flags")?.attributes.get("info") ?? "";
  const named = [...info.matchAll(/\bvir[A-Z]\w+/g)].map(([name]) => enumName(name));
  return named.filter((name) => enumNames.has(name));
}

/** `virDomainXMLFlags` → `DomainXmlFlags`. */
function enumName(cName: string): string {
  return pascalCase(words(cName.slice("vir".length)));
}

/** `(4096 + 1)` and the like. */
function numberOf(macro: Element | undefined): number | undefined {
  const raw = macro?.attributes.get("raw")?.replace(/[()\s]/g, "");
  if (raw === undefined || !/^\d+(\+\d+)*$/.test(raw)) return undefined;
  return raw.split("+").reduce((sum, part) => sum + Number(part), 0);
}

/** Functions of the C library that set the flag by which the daemon sends strings among typed parameters. */
function functionsAskingForStrings(source: string): string[] {
  const found: string[] = [];
  let current = "";
  for (const line of source.split("\n")) {
    current = /^(?:\w+ )?(vir\w+)\(/.exec(line)?.[1] ?? current;
    if (/^\s+flags \|= VIR_TYPED_PARAM_STRING_OKAY;/.test(line)) found.push(current);
  }
  return found;
}

function parametersOf(macros: readonly Element[], sources: readonly string[]): ParameterModel[] {
  const demanded = new Map<string, string>();
  for (const source of sources) {
    for (const [, constant = "", type = ""] of source.matchAll(/\b(VIR_[A-Z0-9_]+),\s*VIR_TYPED_PARAM_([A-Z]+)\b/g)) {
      if (!demanded.has(constant) || type === "UNSIGNED") demanded.set(constant, type.toLowerCase());
    }
  }
  const parameters: ParameterModel[] = [];
  for (const macro of macros) {
    const constant = macro.attributes.get("name") ?? "";
    const name = macro.attributes.get("string");
    if (name === undefined || /_(PREFIX|SUFFIX)(_|$)/.test(constant)) continue;
    const type = TYPE_WORDS.get(
      demanded.get(constant) ?? typeInProse(macro.children.map((child) => child.text).join(" ")) ?? "",
    );
    if (type !== undefined) parameters.push({ constant, name, type });
  }
  return parameters;
}

function typeInProse(text: string): string | undefined {
  const prose = text.replace(/\s+/g, " ");
  const constant = /VIR_TYPED_PARAM_([A-Z]+)/.exec(prose)?.[1]?.toLowerCase();
  const pattern =
    /\bas (?:an? |the )?(unsigned long long|long long|unsigned int|ullong|llong|uint|int|double|boolean|bool|string)\b/;
  return constant ?? pattern.exec(prose)?.[1];
}

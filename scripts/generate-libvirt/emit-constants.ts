/** Enumerations, flags, error codes and the types of known typed parameters, as tables. */
import type { EnumModel, ParameterModel } from "./api-description.js";
import { camelCase, key } from "./names.js";

/** @param releases the enumerations of each release, oldest first */
export function mergeEnums(releases: readonly (readonly EnumModel[])[]): EnumModel[] {
  const types = new Map<string, Map<string, EnumModel["values"][number]>>();
  const cNames = new Map<string, string>();
  for (const { name, cName, values } of releases.flat()) {
    cNames.set(name, cName);
    const known = types.get(name) ?? new Map<string, EnumModel["values"][number]>();
    types.set(name, known);
    for (const value of values) {
      const before = known.get(value.constant);
      if (before !== undefined && before.value !== value.value)
        throw new Error(`${value.constant} has changed its value`);
      known.set(value.constant, value);
    }
  }
  return [...types]
    .map(([name, values]) => ({ name, cName: cNames.get(name) ?? name, values: [...values.values()].sort(byValue) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function byValue(a: EnumModel["values"][number], b: EnumModel["values"][number]): number {
  return a.value - b.value || (a.constant < b.constant ? -1 : 1);
}

/** `DomainCreateFlags`, with `startPaused` for `VIR_DOMAIN_START_PAUSED`: the constant less what all of its type begin with. */
export function emitEnums(enums: readonly EnumModel[], oldest: string): string {
  return enums
    .map(({ name, cName, values }) => {
      const names = memberNames(
        values.map((value) => value.constant),
        name,
      );
      if (new Set(names).size !== values.length) throw new Error(`two values of ${name} share a name`);
      const members = values.map(({ value, since }, i) => {
        const note = since !== undefined && newer(since, oldest) ? `  /** @since libvirt ${since} */\n` : "";
        return `${note}  ${key(names[i] ?? "")}: ${value},`;
      });
      return (
        `/** \`${cName}\`. */\nexport const ${name} = {\n${members.join("\n")}\n} as const;\n` +
        `export type ${name} = (typeof ${name})[keyof typeof ${name}];\n`
      );
    })
    .join("\n");
}

function memberNames(constants: readonly string[], type: string): string[] {
  const lists = constants.map((constant) => constant.toLowerCase().split("_"));
  const shared = sharedWords(lists, type);
  // Of the error codes a few are called warnings, and would leave `err` before the names of all the others.
  const [, most = ""] = lists[Math.floor(lists.length / 2)] ?? [];
  const few = lists.filter((list) => list[1] !== most).length * 10 < lists.length;
  return lists.map((list) => camelCase(list.slice(shared === 1 && few && list[1] === most ? 2 : shared)));
}

/** How many words the constants have in common; at least one is left to each. */
function sharedWords(lists: readonly (readonly string[])[], type: string): number {
  const [first = []] = lists;
  const limit = Math.min(...lists.map((list) => list.length)) - 1;
  let shared = 0;
  while (shared < limit && lists.every((list) => list[shared] === first[shared])) shared += 1;
  // One value alone has all of its words in common: of these, what its type is called is taken.
  if (lists.length > 1) return shared;
  let length = 1;
  while (length < limit && type.toLowerCase().startsWith(first.slice(1, length + 1).join(""))) length += 1;
  return Math.min(length, limit);
}

/** Whether a version of libvirt, such as `10.1.0`, is newer than a release, such as `9.0`. */
function newer(version: string, release: string): boolean {
  const [a, b] = [version, release].map((text) => text.split(".").map(Number));
  for (let i = 0; i < 3; i += 1) {
    const difference = (a?.[i] ?? 0) - (b?.[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

const LETTERS = { int: "i", uint: "u", llong: "l", ullong: "L", double: "d", boolean: "b", string: "s" } as const;
const TYPES = {
  int: "number",
  uint: "number",
  llong: "bigint",
  ullong: "bigint",
  double: "number",
  boolean: "boolean",
  string: "string",
} as const;
/** What the daemon only sends, never takes. */
const ONLY_SENT = /^VIR_(DOMAIN_(STATS|JOB|GUEST_INFO|BLOCK_STATS|CPU_STATS|TUNABLE)|NODE_(CPU|MEMORY)_STATS)_/;

/** One line for each type: its letter, and the names that have it. */
export function parameterTable(releases: readonly (readonly ParameterModel[])[]): string {
  const settable = mergeParameters(releases).filter(({ constant }) => !ONLY_SENT.test(constant));
  return Object.entries(LETTERS)
    .map(([type, letter]) => {
      const names = settable.filter((parameter) => parameter.type === type).map((parameter) => parameter.name);
      return `${letter} ${[...new Set(names)].sort().join(" ")}`;
    })
    .filter((line) => line.length > 2)
    .join("\n");
}

/** The names of parameters with the types that they are read as. */
export function emitParameterTypes(releases: readonly (readonly ParameterModel[])[]): string {
  const byName = new Map(mergeParameters(releases).map(({ name, type }) => [name, TYPES[type]]));
  const lines = [...byName]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, type]) => `  readonly ${key(name)}?: ${type};`);
  return `/** The typed parameters that libvirt's documentation names, by the types of their values. */\nexport interface KnownTypedParameters {\n${lines.join("\n")}\n}\n`;
}

function mergeParameters(releases: readonly (readonly ParameterModel[])[]): ParameterModel[] {
  const byConstant = new Map(releases.flat().map((parameter) => [parameter.constant, parameter]));
  const types = new Map<string, ParameterModel>();
  for (const parameter of byConstant.values()) {
    const before = types.get(parameter.name);
    if (before !== undefined && before.type !== parameter.type) {
      throw new Error(`parameter ${parameter.name} is ${before.type} in one place and ${parameter.type} in another`);
    }
    types.set(parameter.name, parameter);
  }
  return [...byConstant.values()].sort((a, b) => (a.constant < b.constant ? -1 : 1));
}

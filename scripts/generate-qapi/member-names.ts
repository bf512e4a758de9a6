/** The names in a model, for the test that compares them with a QEMU that is installed. */
import type { Command, Event, Member, Model } from "./model.js";

export interface SchemaNames {
  readonly versions: readonly string[];
  /** Every command with the names of all its arguments, in all variants. */
  readonly commands: { readonly [name: string]: readonly string[] };
  /** Every command whose result has members, or is a list of what has, with their names in all variants. */
  readonly results: { readonly [command: string]: readonly string[] };
  /** Every event with the names of its data's members. */
  readonly events: { readonly [name: string]: readonly string[] };
}

export function namesOf(model: Model): SchemaNames {
  const commands = [...model.commands.values()];
  const results = commands.flatMap(({ name, returns }) => {
    const members = returns === undefined ? [] : membersOfType(model, returns.name);
    return members.length === 0 ? [] : [[name, sorted(members)] as const];
  });
  return {
    versions: model.versions,
    commands: byName(commands.map((command) => [command.name, dataOf(model, command)])),
    results: byName(results),
    events: byName([...model.events.values()].map((event) => [event.name, dataOf(model, event)])),
  };
}

function byName(entries: readonly (readonly [string, readonly string[]])[]): Record<string, readonly string[]> {
  return Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function sorted(names: readonly string[]): string[] {
  return [...new Set(names)].sort();
}

function dataOf(model: Model, { data }: Pick<Command | Event, "data">): string[] {
  return sorted("type" in data ? membersOfType(model, data.type) : data.members.map(({ name }) => name));
}

function membersOfType(model: Model, name: string): string[] {
  const type = model.types.get(name);
  const own = (members: readonly Member[]): string[] => members.map((member) => member.name);
  if (type?.kind === "struct")
    return [...(type.base === undefined ? [] : membersOfType(model, type.base)), ...own(type.members)];
  if (type?.kind !== "union") return [];
  const base = typeof type.base === "string" ? membersOfType(model, type.base) : own(type.base);
  return [...base, ...type.branches.flatMap((branch) => membersOfType(model, branch.type))];
}

/** The names in a model, for the test that compares them with a QEMU that is installed. */
import type { Command, Member, Model } from "./model.js";

export interface SchemaNames {
  readonly versions: readonly string[];
  /** Every command with the names of all its arguments, in all variants. */
  readonly commands: { readonly [name: string]: readonly string[] };
  readonly events: readonly string[];
}

export function namesOf(model: Model): SchemaNames {
  const commands = [...model.commands.values()].map((command) => [command.name, argumentsOf(model, command)] as const);
  return {
    versions: model.versions,
    commands: Object.fromEntries(commands.sort(([a], [b]) => (a < b ? -1 : 1))),
    events: [...model.events.keys()].sort(),
  };
}

function argumentsOf(model: Model, command: Command): string[] {
  const names =
    "type" in command.data ? membersOfType(model, command.data.type) : command.data.members.map((m) => m.name);
  return [...new Set(names)].sort();
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

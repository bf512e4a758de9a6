/** The union of the schemas of several releases, oldest first: what any of them has is there, what not all of them have is optional. */
import type { Branch, Command, Data, Event, Marks, Member, Model, NamedType, TypeRef, UnionType } from "./model.js";

export function mergeModels(models: readonly Model[]): Model {
  return models.reduce((older, newer) => {
    const versions = [...older.versions, ...newer.versions];
    const lookup = (model: Model, name: string): NamedType | undefined => model.types.get(name);
    const merger = new Merger(
      (name) => lookup(older, name),
      (name) => lookup(newer, name),
    );
    return {
      versions,
      types: mergeMaps(older.types, newer.types, (a, b) => merger.type(a, b)),
      commands: mergeMaps(older.commands, newer.commands, (a, b) => merger.command(a, b)),
      events: mergeMaps(older.events, newer.events, (a, b) => merger.event(a, b)),
    };
  });
}

type Lookup = (name: string) => NamedType | undefined;

class Merger {
  readonly #older: Lookup;
  readonly #newer: Lookup;

  constructor(older: Lookup, newer: Lookup) {
    this.#older = older;
    this.#newer = newer;
  }

  command(a: Command, b: Command): Command {
    return { ...b, ...marks(a, b), data: this.#data(a.data, b.data), open: a.open || b.open, oob: a.oob || b.oob };
  }

  event(a: Event, b: Event): Event {
    return { ...b, ...marks(a, b), data: this.#data(a.data, b.data) };
  }

  type(a: NamedType, b: NamedType): NamedType {
    if (a.kind === "enum" && b.kind === "enum")
      return { ...b, ...marks(a, b), values: mergeNamed(a.values, b.values, marks) };
    if (a.kind === "alternate" && b.kind === "alternate")
      return { ...b, ...marks(a, b), types: mergeRefs(a.types, b.types) };
    if (a.kind === "union" && b.kind === "union") return this.#union(a, b);
    if (a.kind === "struct" && b.kind === "struct") {
      if (a.base === b.base) return { ...b, ...marks(a, b), members: mergeMembers(a.members, b.members) };
      const members = mergeMembers(flatten(a.name, this.#older), flatten(b.name, this.#newer));
      return { ...b, ...marks(a, b), base: undefined, members };
    }
    // Another kind of type under the same name: the newer release's word counts.
    return { ...b, ...marks(a, b) };
  }

  #union(a: UnionType, b: UnionType): UnionType {
    const branches = mergeKeyed(
      a.branches,
      b.branches,
      (branch) => branch.value,
      (x, y): Branch => ({ ...y, ...marks(x, y) }),
    );
    if (typeof a.base === "string" && a.base === b.base) return { ...b, ...marks(a, b), branches };
    const base = mergeMembers(baseMembers(a, this.#older), baseMembers(b, this.#newer));
    return { ...b, ...marks(a, b), base, branches };
  }

  #data(a: Data, b: Data): Data {
    if ("type" in a && "type" in b && a.type === b.type) return b;
    if (
      ("type" in b && this.#newer(b.type)?.kind !== "struct") ||
      ("type" in a && this.#older(a.type)?.kind !== "struct")
    )
      return b;
    const members = (data: Data, lookup: Lookup): readonly Member[] =>
      "type" in data ? flatten(data.type, lookup) : data.members;
    return { members: mergeMembers(members(a, this.#older), members(b, this.#newer)) };
  }
}

function baseMembers(union: UnionType, lookup: Lookup): readonly Member[] {
  return typeof union.base === "string" ? flatten(union.base, lookup) : union.base;
}

/** All members of a struct, those of its bases first. */
export function flatten(name: string, lookup: Lookup): readonly Member[] {
  const type = lookup(name);
  if (type?.kind !== "struct") throw new Error(`${name} is no struct`);
  return type.base === undefined ? type.members : [...flatten(type.base, lookup), ...type.members];
}

function mergeMembers(a: readonly Member[], b: readonly Member[]): Member[] {
  const merged = mergeNamed(a, b, (x, y): Member => ({
    ...y,
    ...marks(x, y),
    optional: x.optional || y.optional,
    types: mergeRefs(x.types, y.types),
  }));
  const both = new Set(a.map((m) => m.name).filter((name) => b.some((m) => m.name === name)));
  return merged.map((member) => (both.has(member.name) ? member : { ...member, optional: true }));
}

function mergeRefs(a: readonly TypeRef[], b: readonly TypeRef[]): TypeRef[] {
  return mergeKeyed(
    a,
    b,
    (ref) => `${ref.name}${ref.list ? "[]" : ""}`,
    (_, ref) => ref,
  );
}

/** Deprecated and unstable are what the newest release says that has it. */
function marks<T extends Marks>(a: T, b: T): T {
  return { ...b, since: b.since ?? a.since, versions: [...a.versions, ...b.versions] };
}

function mergeNamed<T extends { readonly name: string }>(
  a: readonly T[],
  b: readonly T[],
  merge: (x: T, y: T) => T,
): T[] {
  return mergeKeyed(a, b, (item) => item.name, merge);
}

function mergeKeyed<T>(a: readonly T[], b: readonly T[], key: (item: T) => string, merge: (x: T, y: T) => T): T[] {
  const toMap = (items: readonly T[]): Map<string, T> => new Map(items.map((item) => [key(item), item]));
  return [...mergeMaps(toMap(a), toMap(b), merge).values()];
}

function mergeMaps<T>(a: ReadonlyMap<string, T>, b: ReadonlyMap<string, T>, merge: (x: T, y: T) => T): Map<string, T> {
  const merged = new Map(b);
  for (const [key, older] of a) {
    const newer = b.get(key);
    merged.set(key, newer === undefined ? older : merge(older, newer));
  }
  return merged;
}

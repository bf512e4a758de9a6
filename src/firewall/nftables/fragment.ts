/** Pieces of a rule set as data, and the script that turns one into another. Pure. */

/** A family and a table of ours. */
export type TableKey = "bridge" | "inet";

export interface Chain {
  readonly rules: readonly string[];
  /** For people; of `[A-Za-z0-9._ -]`. */
  readonly comment?: string;
}

/** What one thing (a port, a group) brings into the rule set. No two fragments have the same chain, set or counter; elements of one set may come from many. */
export interface Fragment {
  readonly table: TableKey;
  readonly counters?: readonly string[];
  /** Declarations by name, without elements: `type ipv4_addr; flags interval`. */
  readonly sets?: Readonly<Record<string, string>>;
  readonly chains?: Readonly<Record<string, Chain>>;
  /** By set or map: keys, each with its verdict where it is a map's. */
  readonly elements?: Readonly<Record<string, ReadonlyMap<string, string | undefined>>>;
}

/** Fragments by name. */
export type Fragments = ReadonlyMap<string, readonly Fragment[]>;

interface Objects {
  readonly counters: Map<string, TableKey>;
  readonly sets: Map<string, { readonly table: TableKey; readonly declaration: string }>;
  readonly chains: Map<string, { readonly table: TableKey } & Chain>;
  /** By table and set. */
  readonly elements: Map<string, Map<string, string | undefined>>;
}

/** The lines of one transaction after which what `before` brought is gone and what `after` brings is there. Empty when nothing differs. */
export function transition(
  before: readonly Fragment[],
  after: readonly Fragment[],
  tableName: string,
): readonly string[] {
  const [was, is] = [objectsOf(before), objectsOf(after)];
  const at = (table: TableKey, name: string): string => `${table} ${tableName} ${name}`;
  const lines: string[] = [];
  const late: string[] = [];
  for (const [name, table] of is.counters) if (!was.counters.has(name)) lines.push(`add counter ${at(table, name)}`);
  for (const [name, { table, declaration }] of is.sets)
    if (!was.sets.has(name)) lines.push(`add ${kindOf(declaration)} ${at(table, name)} { ${declaration}; }`);
  for (const [name, { table, comment }] of is.chains) {
    const note = comment === undefined ? "" : ` { comment "${comment}" ; }`;
    if (!was.chains.has(name)) lines.push(`add chain ${at(table, name)}${note}`);
  }
  for (const [name, { table, rules }] of is.chains) {
    const old = was.chains.get(name);
    if (old !== undefined && isSame(old.rules, rules)) continue;
    if (old !== undefined) lines.push(`flush chain ${at(table, name)}`);
    for (const rule of rules) lines.push(`add rule ${at(table, name)} ${rule}`);
  }
  lines.push(...changedElements(was.elements, is.elements, at));
  const goneChains = [...was.chains].filter(([name]) => !is.chains.has(name));
  for (const [name, { table }] of goneChains) late.push(`flush chain ${at(table, name)}`);
  for (const [name, { table }] of goneChains) late.push(`delete chain ${at(table, name)}`);
  for (const [name, { table, declaration }] of was.sets)
    if (!is.sets.has(name)) late.push(`delete ${kindOf(declaration)} ${at(table, name)}`);
  for (const [name, table] of was.counters) if (!is.counters.has(name)) late.push(`delete counter ${at(table, name)}`);
  return [...lines, ...late];
}

function changedElements(
  was: Objects["elements"],
  is: Objects["elements"],
  at: (table: TableKey, name: string) => string,
): string[] {
  const deletions: string[] = [];
  const additions: string[] = [];
  for (const place of new Set([...was.keys(), ...is.keys()])) {
    const [table, name] = place.split(" ") as [TableKey, string];
    const [old, now] = [was.get(place) ?? new Map<string, string>(), is.get(place) ?? new Map<string, string>()];
    const gone = [...old].filter(([key, verdict]) => !now.has(key) || now.get(key) !== verdict).map(([key]) => key);
    const come = [...now].filter(([key, verdict]) => !old.has(key) || old.get(key) !== verdict);
    const written = come.map(([key, verdict]) => (verdict === undefined ? key : `${key} : ${verdict}`));
    if (gone.length > 0) deletions.push(`delete element ${at(table, name)} { ${gone.join(", ")} }`);
    if (written.length > 0) additions.push(`add element ${at(table, name)} { ${written.join(", ")} }`);
  }
  return [...deletions, ...additions];
}

function objectsOf(fragments: readonly Fragment[]): Objects {
  const objects: Objects = { counters: new Map(), sets: new Map(), chains: new Map(), elements: new Map() };
  for (const { table, counters = [], sets = {}, chains = {}, elements = {} } of fragments) {
    for (const name of counters) objects.counters.set(name, table);
    for (const [name, declaration] of Object.entries(sets)) objects.sets.set(name, { table, declaration });
    for (const [name, chain] of Object.entries(chains)) objects.chains.set(name, { table, ...chain });
    for (const [name, keys] of Object.entries(elements)) {
      const place = `${table} ${name}`;
      const all = objects.elements.get(place) ?? new Map<string, string | undefined>();
      for (const [key, verdict] of keys) all.set(key, verdict);
      objects.elements.set(place, all);
    }
  }
  return objects;
}

function kindOf(declaration: string): "map" | "set" {
  return declaration.includes(": verdict") ? "map" : "set";
}

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((line, index) => line === other[index]);
}

/** From patterns to classes: what each element may have, with all alternatives laid over each other. */
import { resolve } from "./pattern.js";
import type { ElementPattern, Pattern } from "./pattern.js";
import { valueType } from "./value-type.js";
import type { ValueType } from "./value-type.js";

export interface ChildMember {
  /** With the usual prefix of its namespace, if it has one. */
  readonly name: string;
  readonly repeats: boolean;
  /** The id of its class. */
  readonly type: number;
}

/** An element in its place: all that any alternative of the schema lets it have. */
export interface ElementClass {
  readonly attributes: ReadonlyMap<string, ValueType>;
  /** In the schema's order. */
  readonly children: readonly ChildMember[];
  readonly text?: ValueType;
  /** Whether elements of any name may be in it. */
  readonly isOpen: boolean;
  /** Pairs of names of which the first has to stand before the second. */
  readonly order: readonly (readonly [string, string])[];
}

export interface ClassGraph {
  readonly classes: readonly ElementClass[];
  /** From the name of a kind of document to that of its root element and the root's class. */
  readonly roots: ReadonlyMap<string, { readonly element: string; readonly type: number }>;
  /** From prefix to namespace. */
  readonly namespaces: ReadonlyMap<string, string>;
}

/** One class for each set of element patterns that may stand in the same place, so that all of a place is in one type. */
export function buildClasses(
  starts: ReadonlyMap<string, { element: string; patterns: readonly Pattern[] }>,
): ClassGraph {
  const builder = new Builder();
  const roots = new Map<string, { element: string; type: number }>();
  for (const [kind, { element, patterns }] of starts) {
    const inside = builder.scan(patterns).children.get(element);
    if (inside === undefined) throw new Error(`no document of kind ${kind} starts with <${element}>`);
    roots.set(kind, { element, type: builder.classOf(inside.patterns) });
  }
  return { classes: builder.finish(), roots, namespaces: builder.namespaces };
}

interface Scan {
  readonly attributes: Map<string, Pattern[]>;
  readonly children: Map<string, { readonly patterns: Set<ElementPattern>; most: number }>;
  /** From a name to those that stand after it in some alternative. */
  readonly after: Map<string, Set<string>>;
  isOpen: boolean;
}

class Builder {
  readonly namespaces = new Map<string, string>();
  readonly #ids = new Map<ElementPattern, number>();
  readonly #known = new Map<string, number>();
  readonly #classes: (ElementClass | undefined)[] = [];
  readonly #pending: { readonly id: number; readonly patterns: readonly ElementPattern[] }[] = [];

  classOf(patterns: ReadonlySet<ElementPattern>): number {
    const key = [...patterns]
      .map((pattern) => this.#idOf(pattern))
      .sort((a, b) => a - b)
      .join(",");
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const id = this.#classes.length;
    this.#classes.push(undefined);
    this.#known.set(key, id);
    this.#pending.push({ id, patterns: [...patterns] });
    return id;
  }

  finish(): ElementClass[] {
    for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift()) {
      this.#classes[next.id] = this.#build(next.patterns.map((pattern) => pattern.content));
    }
    return this.#classes as ElementClass[];
  }

  #build(contents: readonly Pattern[]): ElementClass {
    const { attributes, children, after, isOpen } = this.scan(contents);
    const text = valueType(contents);
    return {
      attributes: new Map(
        [...attributes].map(([name, patterns]) => [name, valueType(patterns) ?? { kind: "string", literals: [] }]),
      ),
      children: [...children].map(([name, { patterns, most }]) => ({
        name,
        repeats: most > 1,
        type: this.classOf(patterns),
      })),
      isOpen,
      order: withoutContradictions(after),
      ...(text === undefined || isOpen ? {} : { text }),
    };
  }

  /** Attributes and child elements of alternatives of one element. */
  scan(alternatives: readonly Pattern[]): Scan {
    const scan: Scan = { attributes: new Map(), children: new Map(), after: new Map(), isOpen: false };
    for (const pattern of alternatives) {
      for (const [name, count] of this.#count(pattern, scan)) {
        const child = scan.children.get(name);
        if (child !== undefined) child.most = Math.max(child.most, count);
      }
    }
    return scan;
  }

  /** How often each child may occur; fills in the scan on the way. */
  #count(pattern: Pattern, scan: Scan): Map<string, number> {
    switch (pattern.kind) {
      case "element": {
        const name = this.#nameOf(pattern);
        if (name === undefined) {
          scan.isOpen = true;
          return new Map();
        }
        const child = scan.children.get(name) ?? { patterns: new Set(), most: 0 };
        child.patterns.add(pattern);
        scan.children.set(name, child);
        return new Map([[name, 1]]);
      }
      case "attribute":
        if (pattern.name !== undefined)
          scan.attributes.set(pattern.name, [...(scan.attributes.get(pattern.name) ?? []), pattern.content]);
        return new Map();
      case "ref":
        return this.#count(resolve(pattern), scan);
      case "many":
        return new Map([...this.#count(pattern.content, scan).keys()].map((name) => [name, Infinity]));
      case "choice":
      case "group":
      case "interleave": {
        const counts = pattern.members.map((member) => this.#count(member, scan));
        if (pattern.kind === "group") noteOrder(counts, scan.after);
        return merge(counts, pattern.kind === "choice" ? Math.max : (a, b) => a + b);
      }
      default:
        return new Map();
    }
  }

  #nameOf({ name, namespace }: ElementPattern): string | undefined {
    if (name === undefined || namespace === "") return name;
    const prefix = /\/([a-z]+)\/[0-9.]+$/.exec(namespace)?.[1];
    if (prefix === undefined) throw new Error(`no prefix is known for ${namespace}`);
    this.namespaces.set(prefix, namespace);
    return `${prefix}:${name}`;
  }

  #idOf(pattern: ElementPattern): number {
    const id = this.#ids.get(pattern) ?? this.#ids.size;
    this.#ids.set(pattern, id);
    return id;
  }
}

function merge(counts: readonly Map<string, number>[], add: (a: number, b: number) => number): Map<string, number> {
  const total = new Map<string, number>();
  for (const [name, count] of counts.flatMap((map) => [...map])) total.set(name, add(total.get(name) ?? 0, count));
  return total;
}

function noteOrder(counts: readonly Map<string, number>[], after: Map<string, Set<string>>): void {
  for (const [index, count] of counts.entries()) {
    const later = counts.slice(index + 1).flatMap((map) => [...map.keys()]);
    for (const name of later.length === 0 ? [] : count.keys()) {
      after.set(name, new Set([...(after.get(name) ?? []), ...later.filter((other) => other !== name)]));
    }
  }
}

/** The pairs on which all alternatives agree. */
function withoutContradictions(after: ReadonlyMap<string, ReadonlySet<string>>): [string, string][] {
  const pairs = [...after].flatMap(([first, later]) => [...later].map((second): [string, string] => [first, second]));
  return pairs.filter(([first, second]) => after.get(second)?.has(first) !== true);
}

/** Gives each class that becomes an interface a name that leads back to its place in a document. */
import type { ClassGraph, ElementClass } from "./build-classes.js";
import { KINDS } from "./kinds.js";

/** Elements that only hold others: their name is left out of the names of what they hold. */
const HOLDERS = new Set(["devices"]);

/** Whether an element is no object but a plain value: a text, or just there. */
export function isLeaf({ attributes, children, isOpen }: ElementClass): boolean {
  return attributes.size === 0 && children.length === 0 && !isOpen;
}

/**
 * From the id of a class to the name of its interface: its kind of document and the elements on the shortest way to it, such
 * as `DomainDiskSource`. A class that stands in several places is named after its kind and its own element, `DomainAlias`,
 * where that is still free.
 */
export function nameClasses({ classes, roots }: ClassGraph): Map<number, string> {
  const names = new Map<number, string>();
  const taken = new Set<string>();
  const give = (id: number, candidates: readonly string[]): void => {
    const name = candidates.find((candidate) => !taken.has(candidate)) ?? numbered(candidates[0]!, taken);
    taken.add(name);
    names.set(id, name);
  };
  const typeOf = (kind: string): string => KINDS.find((known) => known.kind === kind)!.type;
  for (const [kind, { type }] of roots) if (!names.has(type)) give(type, [typeOf(kind)]);
  const shared = sharedNames(classes);
  const seen = new Set([...roots.values()].map(({ type }) => type));
  for (const [document, root] of roots) {
    const kind = typeOf(document);
    const queue: { readonly id: number; readonly path: readonly string[] }[] = [{ id: root.type, path: [] }];
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      for (const child of classes[next.id]!.children) {
        if (seen.has(child.type) || isLeaf(classes[child.type]!)) continue;
        seen.add(child.type);
        const path = [...next.path, child.name];
        const full = kind + path.map(pascal).join("");
        const short =
          kind +
          path
            .filter((name, at) => !HOLDERS.has(name) || at === path.length - 1)
            .map(pascal)
            .join("");
        const common = shared.get(child.type);
        give(child.type, [...(common === undefined ? [] : [kind + pascal(common)]), short, full, `${short}Element`]);
        queue.push({ id: child.type, path });
      }
    }
  }
  return names;
}

/** For each class that stands in several others: the element that it mostly is. */
function sharedNames(classes: readonly ElementClass[]): Map<number, string> {
  const places = new Map<number, Map<string, number>>();
  for (const { type, name } of classes.flatMap((parent) => parent.children)) {
    const names = places.get(type) ?? new Map<string, number>();
    places.set(type, names.set(name, (names.get(name) ?? 0) + 1));
  }
  const shared = new Map<number, string>();
  for (const [type, names] of places) {
    const [most] = [...names].sort(([, a], [, b]) => b - a);
    if (most !== undefined && [...names.values()].reduce((a, b) => a + b) > 1) shared.set(type, most[0]);
  }
  return shared;
}

function numbered(name: string, taken: ReadonlySet<string>): string {
  let number = 2;
  while (taken.has(`${name}${number}`)) number += 1;
  return `${name}${number}`;
}

function pascal(name: string): string {
  return name
    .split(/[^A-Za-z0-9]+/)
    .map((part) => part.charAt(0).toUpperCase() + part.slice(1))
    .join("");
}

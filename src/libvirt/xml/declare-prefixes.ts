/** Sees to it that every prefix in a tree is declared. */
import { InvalidArgumentError } from "../../core/index.js";
import { namespaceOf } from "./schema-table.js";
import { setOwn } from "./xml-element.js";
import type { ParsedElement } from "./xml-element.js";

const ALWAYS_DECLARED = new Set(["xml", "xmlns"]);

/**
 * Declares at the root which of libvirt's prefixes are used without a declaration.
 *
 * @throws InvalidArgumentError for another prefix that nothing declares.
 */
export function declarePrefixes(root: ParsedElement): void {
  const missing = new Set<string>();
  visit(root, ALWAYS_DECLARED, root.name, missing);
  for (const prefix of missing) setOwn(root.attributes, `xmlns:${prefix}`, namespaceOf(prefix) ?? "");
}

function visit(element: ParsedElement, outer: ReadonlySet<string>, path: string, missing: Set<string>): void {
  const names = Object.keys(element.attributes);
  const declared = names.filter((name) => name.startsWith("xmlns:")).map((name) => name.slice(6));
  const scope = declared.length === 0 ? outer : new Set([...outer, ...declared]);
  for (const name of [element.name, ...names]) {
    const colon = name.indexOf(":");
    const prefix = name.slice(0, Math.max(colon, 0));
    if (colon === -1 || scope.has(prefix)) continue;
    if (namespaceOf(prefix) === undefined) {
      throw new InvalidArgumentError({ field: path, value: name, expected: `a declaration of the prefix ${prefix}` });
    }
    missing.add(prefix);
  }
  for (const child of element.children) {
    if (typeof child !== "string") visit(child, scope, `${path}.${child.name}`, missing);
  }
}

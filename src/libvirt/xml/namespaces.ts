/** Gives the elements of libvirt's extension namespaces their usual prefixes, whichever a document has. */
import { prefixOf } from "./schema-table.js";
import { setOwn } from "./xml-element.js";
import type { ParsedElement } from "./xml-element.js";

/** From prefix to namespace; the default namespace has the prefix "". */
type Scope = ReadonlyMap<string, string>;

/**
 * The tree with the usual prefixes in its names and declarations. Elements in a default namespace that is not libvirt's get an
 * entry in `foreign`: they only look like libvirt's.
 */
export function withUsualPrefixes(root: ParsedElement, foreign: WeakSet<ParsedElement>): ParsedElement {
  return renamed(root, new Map(), new Map(), foreign);
}

/** `renames`: from the document's prefix to the usual one, where they differ. */
function renamed(
  element: ParsedElement,
  outer: Scope,
  outerRenames: Scope,
  foreign: WeakSet<ParsedElement>,
): ParsedElement {
  const declared = declarations(element);
  const scope = declared.size === 0 ? outer : new Map([...outer, ...declared]);
  const renames = declared.size === 0 ? outerRenames : renamesOf(declared, outer, outerRenames);
  const attributes: Record<string, string> = {};
  for (const [name, value] of Object.entries(element.attributes)) {
    const prefix = declaredPrefix(name);
    const usual = prefix === undefined ? undefined : renames.get(prefix);
    const isKept = prefix === undefined || usual === undefined || declared.get(prefix) !== value;
    setOwn(attributes, isKept ? withPrefix(name, renames) : `xmlns:${usual}`, value);
  }
  const result: ParsedElement = {
    name: element.name.includes(":") || renames.has("") ? withPrefix(element.name, renames, true) : element.name,
    attributes,
    children: element.children.map((child) =>
      typeof child === "string" ? child : renamed(child, scope, renames, foreign),
    ),
  };
  const namespace = scope.get("");
  if (!result.name.includes(":") && namespace !== undefined && namespace !== "") foreign.add(result);
  return result;
}

function declarations({ attributes }: ParsedElement): Map<string, string> {
  const found = new Map<string, string>();
  for (const [name, uri] of Object.entries(attributes)) {
    const prefix = declaredPrefix(name);
    if (prefix !== undefined) found.set(prefix, uri);
  }
  return found;
}

/** The prefix that an attribute declares, "" for the default; undefined for any other attribute. */
function declaredPrefix(name: string): string | undefined {
  if (name === "xmlns") return "";
  return name.startsWith("xmlns:") ? name.slice(6) : undefined;
}

function renamesOf(declared: Scope, outer: Scope, outerRenames: Scope): Map<string, string> {
  const renames = new Map(outerRenames);
  for (const [prefix, uri] of declared) {
    const usual = prefixOf(uri);
    // The usual prefix may already mean something else here.
    const isFree = usual !== undefined && [uri, undefined].includes(declared.get(usual) ?? outer.get(usual));
    if (usual !== undefined && usual !== prefix && isFree) renames.set(prefix, usual);
    else renames.delete(prefix);
  }
  return renames;
}

function withPrefix(name: string, renames: Scope, isElement = false): string {
  const colon = name.indexOf(":");
  // Attributes without a prefix are in no namespace.
  if (colon === -1 && !isElement) return name;
  const usual = renames.get(colon === -1 ? "" : name.slice(0, colon));
  return usual === undefined ? name : `${usual}:${name.slice(colon + 1)}`;
}

/**
 * The table of what each element may have, unpacked line by line as it is asked for.
 *
 * A line is `attributes|children|text|open|order`. Attributes and children are names with a blank between them. After the name
 * of an attribute, `#` says that it is a whole number, `##` that it is one of 64 bits. After that of a child come `*` if it
 * may occur several times, and `=` with the line of its own, or what it is as a plain value: `s` a text (`s#`, `s##` a
 * number), `b` nothing. Text is `s`, `s#`, `s##` or missing, `o` says that elements of any name may be inside, and order is
 * pairs `1<2` of children of which the first has to stand before the second.
 */
import { LINES, NAMESPACES, ROOTS } from "./generated/table.gen.js";
import type { XmlKinds } from "./generated/types.gen.js";

/** What a text or an attribute is: any text, a whole number, a whole number of 64 bits. */
export type Scalar = "string" | "int" | "int64";

/** What a member of an object stands for in XML. */
export type Member =
  | { readonly kind: "attribute"; readonly name: string; readonly key: string; readonly scalar: Scalar }
  | {
      readonly kind: "element";
      readonly name: string;
      readonly key: string;
      readonly repeats: boolean;
      /** The line of what it is, or what it is as a plain value; `flag` is an element without anything. */
      readonly type: number | Scalar | "flag";
    };

/** What an element may have. */
export interface ElementShape {
  /** By the name of the member. */
  readonly members: ReadonlyMap<string, Member>;
  readonly attributes: ReadonlyMap<string, Member & { readonly kind: "attribute" }>;
  readonly elements: ReadonlyMap<string, Member & { readonly kind: "element" }>;
  readonly text: Scalar | undefined;
  /** From a member to those that have to stand before it. */
  readonly before: ReadonlyMap<string, readonly string[]>;
}

/** A kind of document that libvirt has. */
export type XmlKind = keyof XmlKinds;

/** The kinds of documents and the root element of each. */
export const XML_ROOTS: Readonly<Record<XmlKind, readonly [element: string, shape: number]>> = ROOTS;

/** The kinds of documents. */
export const XML_KINDS = Object.keys(ROOTS) as readonly XmlKind[];

const prefixes: ReadonlyMap<string, string> = new Map(Object.entries(NAMESPACES).map(([prefix, uri]) => [uri, prefix]));
const shapes: (ElementShape | undefined)[] = [];
let lines: readonly string[] | undefined;

/** The prefix that members have for elements of a namespace; undefined for namespaces that are not libvirt's. */
export function prefixOf(namespace: string): string | undefined {
  return prefixes.get(namespace);
}

/** The namespace of libvirt that a prefix stands for in the names of members. */
export function namespaceOf(prefix: string): string | undefined {
  return Object.hasOwn(NAMESPACES, prefix) ? NAMESPACES[prefix] : undefined;
}

/** What the element of a line may have. */
export function shapeOf(line: number): ElementShape {
  lines ??= LINES.trim().split("\n");
  shapes[line] ??= unpack(lines[line] ?? "");
  return shapes[line];
}

function unpack(line: string): ElementShape {
  const [attributeList = "", childList = "", text = "", , order = ""] = line.split("|");
  const attributes = words(attributeList).map(attributeMember);
  const names = new Set(attributes.map(({ name }) => name));
  const elements = words(childList).map((word) => elementMember(word, names));
  const before = new Map<string, string[]>();
  for (const pair of words(order)) {
    const [first, second] = pair.split("<").map((at) => elements[Number(at)]?.key ?? "");
    if (first !== undefined && second !== undefined) before.set(second, [...(before.get(second) ?? []), first]);
  }
  return {
    members: new Map([...attributes, ...elements].map((member) => [member.key, member])),
    attributes: new Map(attributes.map((member) => [member.name, member])),
    elements: new Map(elements.map((member) => [member.name, member])),
    text: text === "" ? undefined : scalar(text.slice(1)),
    before,
  };
}

function attributeMember(word: string): Member & { readonly kind: "attribute" } {
  const name = word.replace(/#+$/, "");
  return { kind: "attribute", name, key: name, scalar: scalar(word.slice(name.length)) };
}

function elementMember(word: string, attributes: ReadonlySet<string>): Member & { readonly kind: "element" } {
  const [left = "", type = ""] = word.split("=");
  const repeats = left.endsWith("*");
  const name = repeats ? left.slice(0, -1) : left;
  const key = attributes.has(name) ? `$${name}` : name;
  return { kind: "element", name, key, repeats, type: typeOf(type) };
}

function typeOf(code: string): number | Scalar | "flag" {
  if (code === "b") return "flag";
  return code.startsWith("s") ? scalar(code.slice(1)) : Number(code);
}

function scalar(marks: string): Scalar {
  return marks === "" ? "string" : marks === "#" ? "int" : "int64";
}

function words(list: string): string[] {
  return list === "" ? [] : list.split(" ");
}

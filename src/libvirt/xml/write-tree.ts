/** From a tree to text. */
import type { XmlElement } from "./xml-element.js";
import { xmlLibrary } from "./xml-library.js";
import type { Library } from "./xml-library.js";

type Builder = ReturnType<ReturnType<Library["create"]>["ele"]>;

const ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const SPECIAL = /[&<>"\t\n\r]/g;
const SPECIAL_IN_TEXT = /[&<>\r]/g;

/** How a document is laid out. */
export interface XmlLayout {
  /** Each element on a line of its own, children indented by two spaces. Default: true. */
  readonly pretty?: boolean | undefined;
}

/**
 * The text of a tree whose names and values have been checked.
 *
 * The library takes what looks like a reference for one and leaves it as it is. So it gets every value escaped, and what is
 * read back is what was there, line ends and tabs in attributes included.
 */
export function writeTree(root: XmlElement, { pretty = true }: XmlLayout = {}): string {
  const document = xmlLibrary().create();
  append(document, root, pretty ? "\n" : undefined);
  const text = document.end({ headless: true });
  return pretty ? `${text}\n` : text;
}

function append(parent: Pick<Builder, "ele">, element: XmlElement, newline: string | undefined): void {
  const builder = parent.ele(element.name);
  for (const [name, value] of Object.entries(element.attributes ?? {})) builder.att(name, escape(value, SPECIAL));
  const children = element.children ?? [];
  // Among text, whitespace would be part of it.
  const indented = newline === undefined || children.some((child) => typeof child === "string") ? undefined : newline;
  const inner = indented === undefined ? undefined : `${indented}  `;
  for (const child of children) {
    if (inner !== undefined) builder.txt(inner);
    if (typeof child === "string") builder.txt(escape(child, SPECIAL_IN_TEXT));
    else append(builder, child, inner);
  }
  if (indented !== undefined && children.length > 0) builder.txt(indented);
}

function escape(value: string, special: RegExp): string {
  return value.replace(special, (character) => ESCAPES[character] ?? `&#${character.charCodeAt(0)};`);
}

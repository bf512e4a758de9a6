/** From text to a tree. */
import { guardXml } from "./guard.js";
import { setOwn } from "./xml-element.js";
import type { ParsedElement } from "./xml-element.js";
import type { XmlLimits } from "./xml-limits.js";
import { xmlLibrary } from "./xml-library.js";
import type { Library } from "./xml-library.js";

type DomNode = ReturnType<ReturnType<Library["create"]>["root"]>["node"];
type DomElement = DomNode & { readonly attributes: Iterable<{ readonly name: string; readonly value: string }> };

const ELEMENT_NODE = 1;

/**
 * The root element of a document. Comments and processing instructions are dropped; CDATA sections are text; whitespace between
 * elements is text too.
 *
 * @throws XmlError for what is malformed, has a DOCTYPE or is beyond the limits.
 */
export function readTree(text: string, limits: XmlLimits): ParsedElement {
  const { node } = xmlLibrary().create({ skipWhitespaceOnlyText: false }, guardXml(text, limits)).root();
  return elementOf(node as DomElement);
}

function elementOf(node: DomElement): ParsedElement {
  const element: ParsedElement = { name: node.nodeName, attributes: {}, children: [] };
  for (const { name, value } of node.attributes) setOwn(element.attributes, name, value);
  for (let child = node.firstChild; child !== null; child = child.nextSibling) {
    element.children.push(
      Number(child.nodeType) === ELEMENT_NODE ? elementOf(child as DomElement) : (child.nodeValue ?? ""),
    );
  }
  return element;
}

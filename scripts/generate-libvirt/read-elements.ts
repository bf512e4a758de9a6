/** Reads the XML that libvirt's own scripts write: elements, attributes and text, no namespaces, no document types. */

export interface Element {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: readonly Element[];
  readonly text: string;
}

interface OpenElement extends Element {
  readonly children: Element[];
  text: string;
}

const MARKUP =
  /<!\[CDATA\[([\s\S]*?)\]\]>|<\?[\s\S]*?\?>|<!--[\s\S]*?-->|<(\/?)([\w-]+)((?:\s+[\w:-]+=(?:'[^']*'|"[^"]*"))*)\s*(\/?)>/g;
const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/** All elements of a document, in the order in which they start. */
export function readElements(text: string): Element[] {
  const all: Element[] = [];
  const open: OpenElement[] = [];
  let end = 0;
  for (const match of text.matchAll(MARKUP)) {
    const [markup, data, closing, name = "", attributes = "", empty] = match;
    const current = open.at(-1);
    if (current !== undefined) current.text += unescape(text.slice(end, match.index)) + (data ?? "");
    end = match.index + markup.length;
    if (closing === "/") {
      if (open.pop()?.name !== name) throw new Error(`</${name}> closes nothing`);
    } else if (closing === "") {
      const element: OpenElement = { name, attributes: attributesOf(attributes), children: [], text: "" };
      current?.children.push(element);
      all.push(element);
      if (empty === "") open.push(element);
    }
  }
  if (open.length > 0) throw new Error(`<${open.at(-1)?.name}> is not closed`);
  return all;
}

function attributesOf(text: string): Map<string, string> {
  const pairs = text.matchAll(/([\w:-]+)=(?:'([^']*)'|"([^"]*)")/g);
  return new Map([...pairs].map(([, name = "", single, double]) => [name, unescape(single ?? double ?? "")]));
}

function unescape(text: string): string {
  return text.replace(/&(\w+);/g, (entity, name: string) => ENTITIES[name] ?? entity);
}

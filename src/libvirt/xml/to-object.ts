/** From a tree to typed objects, by the table of libvirt's schemas. */
import { childOrder } from "./child-order.js";
import { readScalar } from "./scalar.js";
import { shapeOf } from "./schema-table.js";
import type { ElementShape, Member } from "./schema-table.js";
import { setOwn } from "./xml-element.js";
import type { ParsedElement } from "./xml-element.js";

/** An object as it is being made; {@link toObject} gives it the type of its kind. */
export type UntypedObject = Record<string, unknown>;

const BLANK = /^[ \t\n\r]*$/;

/** The object of an element. `foreign`: elements that are in another namespace than their name looks like. */
export function toObject(element: ParsedElement, line: number, foreign: WeakSet<ParsedElement>): UntypedObject {
  return new Reading(shapeOf(line), foreign).read(element);
}

class Reading {
  readonly #shape: ElementShape;
  readonly #foreign: WeakSet<ParsedElement>;
  readonly #object: UntypedObject = {};
  readonly #attributes: Record<string, string> = {};
  readonly #order: string[] = [];
  readonly #counts = new Map<string, number>();

  constructor(shape: ElementShape, foreign: WeakSet<ParsedElement>) {
    this.#shape = shape;
    this.#foreign = foreign;
  }

  read(element: ParsedElement): UntypedObject {
    for (const [name, text] of Object.entries(element.attributes)) this.#readAttribute(name, text);
    const texts = element.children.filter((child) => typeof child === "string");
    const hasElements = texts.length < element.children.length;
    const isText = this.#readText(texts, hasElements);
    for (const child of element.children) {
      if (typeof child !== "string") this.#readChild(child);
      else if (!isText && !BLANK.test(child)) this.#keep(child);
    }
    if (Object.keys(this.#attributes).length > 0) this.#object.$attributes = this.#attributes;
    const usual = childOrder(this.#counts, this.#shape);
    if (this.#order.some((member, at) => usual[at] !== member)) this.#object.$order = this.#order;
    return this.#object;
  }

  #readAttribute(name: string, text: string): void {
    const known = this.#shape.attributes.get(name);
    const value = known === undefined ? undefined : readScalar(text, known.scalar);
    if (known === undefined || value === undefined) setOwn(this.#attributes, name, text);
    else this.#object[known.key] = value;
  }

  /** Whether the texts are the value of `$text`, or only whitespace around children. */
  #readText(texts: readonly string[], hasElements: boolean): boolean {
    const { text } = this.#shape;
    if (text === undefined) return false;
    const joined = texts.join("");
    if (hasElements ? BLANK.test(joined) : joined === "") return true;
    const value = readScalar(joined, text);
    // Where texts and elements take turns, only the whole list of them says how.
    if (value === undefined || (hasElements && texts.filter((part) => !BLANK.test(part)).length > 1)) return false;
    this.#object.$text = value;
    return true;
  }

  #readChild(element: ParsedElement): void {
    const member = this.#foreign.has(element) ? undefined : this.#shape.elements.get(element.name);
    const isSecond = member !== undefined && !member.repeats && this.#counts.has(member.key);
    const value = member === undefined || isSecond ? undefined : this.#valueOf(element, member);
    if (member === undefined || value === undefined) return this.#keep(element);
    const index = this.#count(member.key);
    if (!member.repeats) this.#object[member.key] = value;
    else if (index === 0) this.#object[member.key] = [value];
    else (this.#object[member.key] as unknown[]).push(value);
    if (typeof member.type === "number") return;
    for (const [name, text] of Object.entries(element.attributes)) {
      setOwn(this.#attributes, `${member.key}${index === 0 ? "" : `[${index}]`}@${name}`, text);
    }
  }

  #valueOf(element: ParsedElement, { type }: Member & { readonly kind: "element" }): unknown {
    if (typeof type === "number") return toObject(element, type, this.#foreign);
    const texts = element.children.filter((child) => typeof child === "string");
    if (texts.length < element.children.length) return undefined;
    const text = texts.join("");
    if (type === "flag") return BLANK.test(text) ? true : undefined;
    return readScalar(text, type);
  }

  #keep(child: ParsedElement | string): void {
    if (this.#count("$content") === 0) this.#object.$content = [child];
    else (this.#object.$content as unknown[]).push(child);
  }

  /** Notes another child of a member, and says how many there were before. */
  #count(member: string): number {
    const count = this.#counts.get(member) ?? 0;
    this.#counts.set(member, count + 1);
    this.#order.push(member);
    return count;
  }
}

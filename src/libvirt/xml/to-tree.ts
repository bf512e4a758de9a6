/** From typed objects to a tree, by the table of libvirt's schemas; everything is checked on the way. */
import { InvalidArgumentError } from "../../core/index.js";
import { checkElement, elementLimits, isPlainObject } from "./check-element.js";
import type { ElementLimits } from "./check-element.js";
import { isXmlName } from "./characters.js";
import { childOrder } from "./child-order.js";
import { declarePrefixes } from "./declare-prefixes.js";
import { checkText, writeScalar } from "./scalar.js";
import { shapeOf } from "./schema-table.js";
import type { ElementShape, Member } from "./schema-table.js";
import { setOwn } from "./xml-element.js";
import type { ParsedElement, XmlElement } from "./xml-element.js";
import type { XmlLimits } from "./xml-limits.js";

type ElementMember = Member & { readonly kind: "element" };

const LEAF_ATTRIBUTE = /^(.+?)(?:\[([1-9][0-9]{0,6})\])?@(.+)$/;

/**
 * The element of an object.
 *
 * @throws InvalidArgumentError with the path of what has no place in it, is of the wrong type, or can't stand in XML.
 */
export function toTree(name: string, object: unknown, line: number, path: string, limits: XmlLimits): XmlElement {
  const root = new Writing(elementLimits(limits)).element(name, object, line, path, 1);
  declarePrefixes(root);
  return root;
}

class Writing {
  readonly #limits: ElementLimits;

  constructor(limits: ElementLimits) {
    this.#limits = limits;
  }

  element(name: string, object: unknown, line: number, path: string, depth: number): ParsedElement {
    if (!isPlainObject(object)) throw new InvalidArgumentError({ field: path, value: object, expected: "an object" });
    this.#limits.count(depth, path);
    const shape = shapeOf(line);
    const element: ParsedElement = { name, attributes: {}, children: [] };
    const children = new Map<string, unknown[]>();
    for (const [key, value] of Object.entries(object)) {
      if (value === undefined || key === "$order" || key === "$attributes") continue;
      if (key === "$text" && shape.text !== undefined) {
        const text = writeScalar(value, shape.text, `${path}.$text`);
        if (text !== "") element.children.push(text);
        continue;
      }
      if (key === "$content") {
        children.set(key, listOf(value, `${path}.$content`));
        continue;
      }
      const member = shape.members.get(key);
      if (member === undefined) {
        throw new InvalidArgumentError({ field: pathOf(path, key), value, expected: `no such member of <${name}>` });
      }
      if (member.kind === "attribute") element.attributes[key] = writeScalar(value, member.scalar, pathOf(path, key));
      else if (member.repeats) children.set(key, listOf(value, pathOf(path, key)));
      else if (member.type !== "flag" || value !== false) children.set(key, [value]);
    }
    this.#children(element, children, hintOf(object.$order, `${path}.$order`), shape, path, depth);
    this.#extraAttributes(element, object.$attributes, shape, path);
    return element;
  }

  #children(
    element: ParsedElement,
    children: ReadonlyMap<string, readonly unknown[]>,
    hint: readonly string[] | undefined,
    shape: ElementShape,
    path: string,
    depth: number,
  ): void {
    const counts = new Map([...children].map(([member, values]) => [member, values.length]));
    const next = new Map<string, number>();
    for (const key of childOrder(counts, shape, hint)) {
      const index = next.get(key) ?? 0;
      next.set(key, index + 1);
      const value = children.get(key)?.[index];
      const member = shape.members.get(key);
      if (member?.kind === "element") {
        const at = member.repeats ? `${pathOf(path, key)}[${index}]` : pathOf(path, key);
        element.children.push(this.#child(member, value, at, depth + 1));
      } else element.children.push(this.#content(value, `${path}.$content[${index}]`, depth + 1));
    }
  }

  #child({ name, type }: ElementMember, value: unknown, path: string, depth: number): ParsedElement {
    if (typeof type === "number") return this.element(name, value, type, path, depth);
    this.#limits.count(depth, path);
    const element: ParsedElement = { name, attributes: {}, children: [] };
    if (type === "flag") {
      if (value !== true)
        throw new InvalidArgumentError({ field: path, value, expected: "true, or false for no such element" });
    } else {
      const text = writeScalar(value, type, path);
      if (text !== "") element.children.push(text);
    }
    return element;
  }

  #content(value: unknown, path: string, depth: number): ParsedElement | string {
    return typeof value === "string" ? checkText(value, path) : checkElement(value, path, depth, this.#limits);
  }

  /** `$attributes`: the element's own, and those of its children that are plain values. */
  #extraAttributes(element: ParsedElement, given: unknown, shape: ElementShape, path: string): void {
    if (given === undefined) return;
    const field = `${path}.$attributes`;
    if (!isPlainObject(given)) throw new InvalidArgumentError({ field, value: given, expected: "an object of texts" });
    for (const [key, value] of Object.entries(given)) {
      const [, child, index, name] = LEAF_ATTRIBUTE.exec(key) ?? [];
      const member = child === undefined ? undefined : shape.members.get(child);
      const target =
        child === undefined
          ? element
          : leafOf(element, member?.kind === "element" ? member : undefined, Number(index ?? 0));
      const attribute = name ?? key;
      const at = `${field}[${JSON.stringify(key)}]`;
      if (!isXmlName(attribute))
        throw new InvalidArgumentError({ field: at, value: attribute, expected: "an XML name" });
      // Attributes of a child that has been taken away since.
      if (target === undefined) continue;
      if (Object.hasOwn(target.attributes, attribute)) {
        throw new InvalidArgumentError({
          field: at,
          value: attribute,
          expected: "an attribute that is not a member too",
        });
      }
      setOwn(target.attributes, attribute, checkText(value, at));
    }
  }
}

function leafOf(element: ParsedElement, member: ElementMember | undefined, index: number): ParsedElement | undefined {
  if (member === undefined || typeof member.type === "number") return undefined;
  const named = element.children.filter((child) => typeof child !== "string" && child.name === member.name);
  return named[index] as ParsedElement | undefined;
}

function listOf(value: unknown, path: string): unknown[] {
  if (!Array.isArray(value)) throw new InvalidArgumentError({ field: path, value, expected: "an array" });
  return value;
}

function hintOf(value: unknown, path: string): readonly string[] | undefined {
  if (value === undefined) return undefined;
  if (Array.isArray(value) && value.every((member): member is string => typeof member === "string")) return value;
  throw new InvalidArgumentError({ field: path, value, expected: "an array of names of members" });
}

function pathOf(path: string, key: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `${path}.${key}` : `${path}[${JSON.stringify(key)}]`;
}

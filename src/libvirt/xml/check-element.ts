/** Checks elements that the schemas do not name before they are written. */
import { InvalidArgumentError } from "../../core/index.js";
import { isXmlName } from "./characters.js";
import { checkText } from "./scalar.js";
import { setOwn } from "./xml-element.js";
import type { ParsedElement } from "./xml-element.js";
import type { XmlLimits } from "./xml-limits.js";

/** Counts elements as they are written. */
export interface ElementLimits {
  /** Throws `InvalidArgumentError` for the element that is one too many or too deep. */
  count(depth: number, path: string): void;
}

export function elementLimits({ maxDepth, maxElements }: XmlLimits): ElementLimits {
  let elements = 0;
  return {
    count(depth, path) {
      elements += 1;
      if (depth > maxDepth) throw tooMuch(path, `elements at most ${maxDepth} deep`);
      if (elements > maxElements) throw tooMuch(path, `at most ${maxElements} elements`);
    },
  };
}

/** A copy of an element with everything in it checked. Throws `InvalidArgumentError` with the path of what is wrong. */
export function checkElement(value: unknown, path: string, depth: number, limits: ElementLimits): ParsedElement {
  if (!isPlainObject(value)) throw new InvalidArgumentError({ field: path, value, expected: "an element" });
  limits.count(depth, path);
  const { name, attributes, children } = value;
  if (typeof name !== "string" || !isXmlName(name)) {
    throw new InvalidArgumentError({ field: `${path}.name`, value: name, expected: "an XML name" });
  }
  const element: ParsedElement = { name, attributes: {}, children: [] };
  if (attributes !== undefined) {
    if (!isPlainObject(attributes)) {
      throw new InvalidArgumentError({
        field: `${path}.attributes`,
        value: attributes,
        expected: "an object of texts",
      });
    }
    for (const [key, text] of Object.entries(attributes)) {
      const at = `${path}.attributes[${JSON.stringify(key)}]`;
      if (!isXmlName(key)) throw new InvalidArgumentError({ field: at, value: key, expected: "an XML name" });
      setOwn(element.attributes, key, checkText(text, at));
    }
  }
  if (children === undefined) return element;
  if (!Array.isArray(children)) {
    throw new InvalidArgumentError({ field: `${path}.children`, value: children, expected: "an array" });
  }
  for (const [index, child] of children.entries()) {
    const at = `${path}.children[${index}]`;
    element.children.push(
      typeof child === "string" ? checkText(child, at) : checkElement(child, at, depth + 1, limits),
    );
  }
  return element;
}

/** Whether a value is an object and nothing else: no array, no null. */
export function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function tooMuch(path: string, expected: string): InvalidArgumentError {
  return new InvalidArgumentError({ field: path, value: undefined, expected });
}

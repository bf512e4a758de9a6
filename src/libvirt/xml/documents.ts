/** Documents of libvirt read into typed objects, and written from them. */
import { InvalidArgumentError } from "../../core/index.js";
import { checkElement, elementLimits } from "./check-element.js";
import { declarePrefixes } from "./declare-prefixes.js";
import type { DomainDevices, XmlKinds } from "./generated/types.gen.js";
import { withUsualPrefixes } from "./namespaces.js";
import { readTree } from "./read-tree.js";
import { XML_KINDS, XML_ROOTS, shapeOf } from "./schema-table.js";
import type { XmlKind } from "./schema-table.js";
import { toObject } from "./to-object.js";
import { toTree } from "./to-tree.js";
import { writeTree } from "./write-tree.js";
import type { XmlLayout } from "./write-tree.js";
import type { ParsedElement, XmlElement } from "./xml-element.js";
import { XmlError, positionAt } from "./xml-error.js";
import { xmlLimits } from "./xml-limits.js";
import type { XmlLimits } from "./xml-limits.js";
import type { Editable } from "./xml-object.js";

/** How a document is read. */
export interface ParseXmlOptions {
  /** Those that are not given have the defaults of `XML_LIMITS`. */
  readonly limits?: Partial<XmlLimits> | undefined;
}

/** How a document is written. */
export type FormatXmlOptions = ParseXmlOptions & XmlLayout;

/** The devices that `<devices>` may have: `disk`, `interface`, `hostdev`, … */
export type DeviceKind = Exclude<keyof DomainDevices & string, `$${string}` | "emulator">;

/** The type of a device. */
export type DeviceOf<Kind extends DeviceKind> = OneOf<NonNullable<DomainDevices[Kind]>>;

type OneOf<T> = T extends readonly (infer Item)[] ? Item : T;

/**
 * Reads a document of a kind.
 *
 * What the schemas do not name is kept, and written back by {@link formatXml}; comments and processing instructions are not.
 * Whether a document is valid is not checked: libvirt does that.
 *
 * @throws XmlError for what is not well-formed, has a DOCTYPE, is beyond the limits or is another kind of document.
 */
export function parseXml<Kind extends XmlKind>(
  kind: Kind,
  text: string,
  options: ParseXmlOptions = {},
): Editable<XmlKinds[Kind]> {
  const [element, line] = rootOf(kind);
  return parseElement(element, line, text, options) as Editable<XmlKinds[Kind]>;
}

/**
 * Writes a document of a kind, without an XML declaration.
 *
 * @throws InvalidArgumentError with the path of a member that the element does not have, that is of the wrong type, or whose
 *   text XML can't hold, such as `domain.devices.disk[0].target.dev`.
 */
export function formatXml<Kind extends XmlKind>(
  kind: Kind,
  value: XmlKinds[Kind],
  options: FormatXmlOptions = {},
): string {
  const [element, line] = rootOf(kind);
  return formatElement(element, line, value, kind, options);
}

/**
 * Reads a single device, as `virsh attach-device` takes it.
 *
 * @throws XmlError as {@link parseXml} does.
 */
export function parseDeviceXml<Kind extends DeviceKind>(
  kind: Kind,
  text: string,
  options: ParseXmlOptions = {},
): Editable<DeviceOf<Kind>> {
  return parseElement(kind, lineOfDevice(kind), text, options) as Editable<DeviceOf<Kind>>;
}

/**
 * Writes a single device, for attaching it to a domain, changing it or detaching it.
 *
 * @throws InvalidArgumentError as {@link formatXml} does.
 */
export function formatDeviceXml<Kind extends DeviceKind>(
  kind: Kind,
  value: DeviceOf<Kind>,
  options: FormatXmlOptions = {},
): string {
  return formatElement(kind, lineOfDevice(kind), value, kind, options);
}

/**
 * Reads any XML into a plain tree: metadata, for instance. Throws XmlError as {@link parseXml} does. Whitespace between elements
 * is text here.
 */
export function parseXmlElement(text: string, options: ParseXmlOptions = {}): XmlElement {
  return readTree(text, xmlLimits(options.limits));
}

/** Writes a plain tree. Throws InvalidArgumentError for names and texts that XML can't hold, and prefixes without namespace. */
export function formatXmlElement(element: XmlElement, options: FormatXmlOptions = {}): string {
  const limits = xmlLimits(options.limits);
  const checked = checkElement(element, "element", 1, elementLimits(limits));
  declarePrefixes(checked);
  return bounded(writeTree(checked, options), limits, "element");
}

function parseElement(name: string, line: number, text: string, { limits }: ParseXmlOptions): unknown {
  const foreign = new WeakSet<ParsedElement>();
  const root = withUsualPrefixes(readTree(text, xmlLimits(limits)), foreign);
  if (root.name !== name || foreign.has(root)) {
    const start = text.search(/<[^?!]/);
    throw new XmlError(`the root is <${root.name}>, not libvirt's <${name}>`, "kind", positionAt(text, start));
  }
  return toObject(root, line, foreign);
}

function formatElement(name: string, line: number, value: unknown, path: string, options: FormatXmlOptions): string {
  const limits = xmlLimits(options.limits);
  return bounded(writeTree(toTree(name, value, line, path, limits), options), limits, path);
}

function bounded(text: string, { maxBytes }: XmlLimits, path: string): string {
  if (Buffer.byteLength(text) <= maxBytes) return text;
  const expected = `a document of at most ${maxBytes} bytes`;
  throw new InvalidArgumentError({ field: path, value: undefined, expected });
}

function rootOf(kind: XmlKind): readonly [element: string, line: number] {
  if (Object.hasOwn(XML_ROOTS, kind)) return XML_ROOTS[kind];
  throw new InvalidArgumentError({ field: "kind", value: kind, expected: XML_KINDS.join(", ") });
}

function lineOfDevice(kind: string): number {
  const devices = shapeOf(XML_ROOTS.domain[1]).elements.get("devices")?.type;
  const line = typeof devices === "number" ? shapeOf(devices).elements.get(kind)?.type : undefined;
  if (typeof line === "number") return line;
  throw new InvalidArgumentError({ field: "kind", value: kind, expected: "a device of a domain" });
}

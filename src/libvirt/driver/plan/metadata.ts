/** What a domain says of the instance that it is: an element of our own in its metadata. Pure. */
import type { GuestDefinition } from "../../../driver/index.js";
import type { DomainXml, LibvirtXml, XmlElement } from "../../xml/index.js";
import type { DomainPlanOptions } from "./plan-options.js";

/** The namespace of our metadata: needs no registry, and is nobody else's (RFC 9562). */
export const METADATA_NAMESPACE = "urn:uuid:7c0c2fb0-63f1-5d0e-9d52-4b1a5f0a6d10";
export const METADATA_PREFIX = "hypervise";
const VERSION = "1";

/** What is written into a domain's metadata. */
export interface DomainMetadata {
  readonly uuid: string;
  readonly name: string;
  /** What the embedder keeps with the instance. */
  readonly entries?: Readonly<Record<string, string>>;
  /** Role tags of devices, by the ids of disks and NICs. */
  readonly tags?: Readonly<Record<string, string>>;
}

/** What is written of a guest, given beside what its definition says. */
export function metadataOf(
  { uuid, name, metadata = {}, disks, nics }: GuestDefinition,
  { metadata: more = {}, tags = {} }: Pick<DomainPlanOptions, "metadata" | "tags"> = {},
): Required<DomainMetadata> {
  const own = [...disks, ...nics].flatMap(({ id, tag }) => (tag === undefined ? [] : [[id, tag] as const]));
  return { uuid, name, entries: { ...metadata, ...more }, tags: { ...Object.fromEntries(own), ...tags } };
}

/** The element, by default as it stands in a domain. `domainSetMetadata` wants it without a prefix, and gives it one. */
export function metadataElement(
  { uuid, name, entries = {}, tags = {} }: DomainMetadata,
  { prefixed = true }: { readonly prefixed?: boolean } = {},
): XmlElement {
  const prefix = prefixed ? `${METADATA_PREFIX}:` : "";
  const list = (tag: string, key: string, values: Readonly<Record<string, string>>): XmlElement[] =>
    Object.entries(values).map(([id, text]) => ({
      name: `${prefix}${tag}`,
      attributes: { [key]: id },
      children: text === "" ? [] : [text],
    }));
  const space = prefixed ? { [`xmlns:${METADATA_PREFIX}`]: METADATA_NAMESPACE } : {};
  return {
    name: `${prefix}instance`,
    attributes: { ...space, version: VERSION, uuid, name },
    children: [...list("entry", "key", entries), ...list("tag", "device", tags)],
  };
}

export function metadataXml(metadata: DomainMetadata): LibvirtXml.DomainMetadata {
  return { $content: [metadataElement(metadata)] };
}

/** Our element of a domain, whatever prefix it has there; undefined where there is none. */
export function readMetadata(domain: DomainXml): DomainMetadata | undefined {
  for (const element of elements(domain.metadata?.$content)) {
    const { prefix, local } = nameOf(element);
    const { attributes = {} } = element;
    const namespace = attributes[prefix === "" ? "xmlns" : `xmlns:${prefix}`];
    const { uuid, name } = attributes;
    if (namespace !== METADATA_NAMESPACE || local !== "instance" || uuid === undefined || name === undefined) continue;
    const children = elements(element.children);
    return { uuid, name, entries: read(children, "entry", "key"), tags: read(children, "tag", "device") };
  }
  return undefined;
}

function read(children: readonly XmlElement[], tag: string, key: string): Readonly<Record<string, string>> {
  const found = children.flatMap((child) => {
    const id = child.attributes?.[key];
    return nameOf(child).local !== tag || id === undefined ? [] : [[id, textOf(child)] as const];
  });
  return Object.fromEntries(found);
}

function elements(content: readonly (XmlElement | string)[] | undefined): XmlElement[] {
  return (content ?? []).filter((item): item is XmlElement => typeof item !== "string");
}

function textOf({ children = [] }: XmlElement): string {
  return children.filter((item) => typeof item === "string").join("");
}

function nameOf({ name }: XmlElement): { readonly prefix: string; readonly local: string } {
  const colon = name.indexOf(":");
  return colon < 0 ? { prefix: "", local: name } : { prefix: name.slice(0, colon), local: name.slice(colon + 1) };
}

/** XML as a plain tree, for what libvirt's schemas do not name: metadata, and elements of a later libvirt. */

/** An element as it stands in a document. */
export interface XmlElement {
  /** With its prefix: `nova:instance`. */
  readonly name: string;
  /** Namespace declarations (`xmlns`, `xmlns:nova`) among them. */
  readonly attributes?: Readonly<Record<string, string>> | undefined;
  /** Elements and text in their order. */
  readonly children?: readonly (XmlElement | string)[] | undefined;
}

/** A tree whose parts are all there, as the reader makes it. */
export interface ParsedElement {
  readonly name: string;
  readonly attributes: Record<string, string>;
  readonly children: (ParsedElement | string)[];
}

/** Sets an own property, whatever its name: a document may have an attribute `__proto__`. */
export function setOwn<T>(record: Record<string, T>, key: string, value: T): void {
  if (key === "__proto__") {
    Object.defineProperty(record, key, { value, enumerable: true, configurable: true, writable: true });
  } else record[key] = value;
}

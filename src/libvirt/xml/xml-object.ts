/** What all typed elements have in common, and the values that members may have. */
import type { XmlElement } from "./xml-element.js";

/**
 * A whole number of 64 bits: a `number` where a double holds it exactly, else a `bigint`. Either may be given.
 */
export type Int64 = number | bigint;

/**
 * An element of a document.
 *
 * Attributes and child elements are members under their own names: `disk.type`, `disk.source.file`. Where an element has an
 * attribute and a child of the same name, the child's member begins with `$`: `os.firmware` is the attribute, `os.$firmware`
 * the element. An element that may occur several times is always an array. An element that can have nothing but text is that
 * text; one that can have nothing at all is `true`; the text of any other is its member `$text`. Names from libvirt's
 * extension namespaces have the usual prefix, `domain["qemu:commandline"]`, whichever prefix the document has.
 *
 * Any member may be missing: documents come from all versions of libvirt. What the schemas do not name is kept in the members
 * below, and so is what is not of the type that the schemas say.
 */
export interface XmlObject {
  /**
   * Attributes that the schema does not name, and namespace declarations. Those of a child that is a plain value stand here as
   * `name@metadata`, those of the third such child as `name[2]@metadata`.
   */
  readonly $attributes?: Readonly<Record<string, string>> | undefined;
  /** Elements and text that the schema does not name, in their order: all of `<metadata>`, for instance. */
  readonly $content?: readonly (XmlElement | string)[] | undefined;
  /**
   * The members of the child elements in the order of the document. Only there where that order is not the one that the members
   * themselves are in, as when rules and references take turns. Children that it does not name come after their like.
   */
  readonly $order?: readonly string[] | undefined;
}

/** The same data, to be changed in place: what is read belongs to who read it. */
export type Editable<T> = T extends string | number | bigint | boolean | undefined
  ? T
  : T extends readonly (infer Item)[]
    ? Editable<Item>[]
    : { -readonly [Key in keyof T]: Editable<T[Key]> };

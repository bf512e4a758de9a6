/** What refuses a document that is malformed, hostile or of another kind. */
import { HyperviseError, nameErrorClass } from "../../core/index.js";
import type { JsonObject } from "../../core/index.js";

/**
 * Why a document was refused.
 *
 * - `syntax`: not well-formed XML.
 * - `doctype`: it has a document type declaration, which libvirt's documents never have.
 * - `entity`: it refers to an entity other than the five that XML predefines.
 * - `limit`: larger, deeper or with more elements than the limits allow.
 * - `kind`: well-formed, but its root is that of another kind of document.
 */
export type XmlErrorReason = "syntax" | "doctype" | "entity" | "limit" | "kind";

/**
 * Where in a text something stands. Lines and columns count from 1, the offset from 0, in UTF-16 code units, without a byte order
 * mark and with each line end as one.
 */
export interface XmlPosition {
  readonly line: number;
  readonly column: number;
  readonly offset: number;
}

/** A document could not be read. Nothing of it is used. Code `XML_INVALID`. */
export class XmlError extends HyperviseError {
  readonly reason: XmlErrorReason;
  readonly position: XmlPosition;

  static {
    nameErrorClass(this, "XmlError");
  }

  /** `problem` says what is wrong in words; the position is added to it. */
  constructor(problem: string, reason: XmlErrorReason, position: XmlPosition) {
    super(`XML, line ${position.line}, column ${position.column}: ${problem}`, { code: "XML_INVALID" });
    this.reason = reason;
    this.position = position;
  }

  protected override tenantFields(): JsonObject {
    return { reason: this.reason, position: { ...this.position } };
  }
}

/** The position of an offset in a text. */
export function positionAt(text: string, offset: number): XmlPosition {
  let line = 1;
  let lineStart = 0;
  for (let at = text.indexOf("\n"); at !== -1 && at < offset; at = text.indexOf("\n", at + 1)) {
    line += 1;
    lineStart = at + 1;
  }
  return { line, column: offset - lineStart + 1, offset };
}

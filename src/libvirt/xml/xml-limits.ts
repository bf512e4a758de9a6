/** How large a document may be. */
import { check } from "../../core/index.js";

/** Bounds on a document that is read or written. Whatever is beyond them is refused before anything is built of it. */
export interface XmlLimits {
  /** Length of the text in bytes of UTF-8. Default: 4 MiB, the longest string of libvirt's protocol. */
  readonly maxBytes: number;
  /** Elements within each other, the root included. Default: 256. */
  readonly maxDepth: number;
  /** Elements of the whole document. Default: 100,000. */
  readonly maxElements: number;
  /** Attributes of one element. Default: 256. */
  readonly maxAttributes: number;
}

/** The default of each limit. */
export const XML_LIMITS: XmlLimits = {
  maxBytes: 4_194_304,
  maxDepth: 256,
  maxElements: 100_000,
  maxAttributes: 256,
};

const limit = (max: number) => check.optional(check.integer({ min: 1, max }));
/** Deeper than this, the call stack may not suffice. */
const MAX_DEPTH = 512;
const checkLimits = check.object({
  maxBytes: limit(64 * 1_048_576),
  maxDepth: limit(MAX_DEPTH),
  maxElements: limit(10_000_000),
  maxAttributes: limit(65_536),
});

/** Limits with defaults filled in. Throws `InvalidArgumentError` for what can't be a limit. */
export function xmlLimits(given: Partial<XmlLimits> = {}): XmlLimits {
  const { maxBytes, maxDepth, maxElements, maxAttributes } = checkLimits(given, "limits");
  return {
    maxBytes: maxBytes ?? XML_LIMITS.maxBytes,
    maxDepth: maxDepth ?? XML_LIMITS.maxDepth,
    maxElements: maxElements ?? XML_LIMITS.maxElements,
    maxAttributes: maxAttributes ?? XML_LIMITS.maxAttributes,
  };
}

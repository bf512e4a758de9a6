/** Which characters and names XML 1.0 has. */

const START =
  ":A-Z_a-z\\u00C0-\\u00D6\\u00D8-\\u00F6\\u00F8-\\u02FF\\u0370-\\u037D\\u037F-\\u1FFF\\u200C\\u200D\\u2070-\\u218F\\u2C00-\\u2FEF\\u3001-\\uD7FF\\uF900-\\uFDCF\\uFDF0-\\uFFFD\\u{10000}-\\u{EFFFF}";
const REST = `${START}\\-.0-9\\u00B7\\u0300-\\u036F\\u203F\\u2040`;

/** The pattern of a name, for a regular expression with the flag `u`. */
export const NAME_PATTERN = `[${START}][${REST}]*`;

// Ranges of the specification, which begin and end with joiners and combining characters.
// eslint-disable-next-line no-misleading-character-class
const WHOLE_NAME = new RegExp(`^${NAME_PATTERN}$`, "u");
const ILLEGAL = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/u;

/** Whether a text is a name of an element or attribute: with at most one colon, and that between two names. */
export function isXmlName(text: string): boolean {
  if (!WHOLE_NAME.test(text)) return false;
  const colon = text.indexOf(":");
  return colon === -1 || (colon > 0 && WHOLE_NAME.test(text.slice(colon + 1)) && !text.slice(colon + 1).includes(":"));
}

/** The offset of the first character that no XML document may have, such as NUL or half a surrogate pair; -1 if none. */
export function illegalCharacterAt(text: string): number {
  return text.search(ILLEGAL);
}

/** Whether XML may have the character of this number. */
export function isLegalCodePoint(code: number): boolean {
  return code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff) && !ILLEGAL.test(String.fromCodePoint(code));
}

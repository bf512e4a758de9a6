/**
 * Stands before the XML library, whose reader is lenient: lets only well-formed, bounded documents without a DOCTYPE pass, and
 * hands them on in the plainest form, in which no reading but the right one is possible.
 */
import { NAME_PATTERN, illegalCharacterAt, isLegalCodePoint, isXmlName } from "./characters.js";
import { XmlError, positionAt } from "./xml-error.js";
import type { XmlErrorReason } from "./xml-error.js";
import type { XmlLimits } from "./xml-limits.js";

const PREDEFINED: ReadonlyMap<string, number> = new Map([
  ["amp", 38],
  ["lt", 60],
  ["gt", 62],
  ["quot", 34],
  ["apos", 39],
]);
const DECLARATION =
  /<\?xml[ \t\n]+version[ \t\n]*=[ \t\n]*(["'])1\.[0-9]\1(?:[ \t\n]+encoding[ \t\n]*=[ \t\n]*(["'])[A-Za-z][A-Za-z0-9._-]*\2)?(?:[ \t\n]+standalone[ \t\n]*=[ \t\n]*(["'])(?:yes|no)\3)?[ \t\n]*\?>/y;
const SPECIAL = /[<>&"]/g;
const NOT_SPACE = /[^ \t\n]/;

/**
 * The document without declaration, comments, processing instructions, CDATA sections and a byte order mark; line ends and
 * attribute values normalized as XML prescribes; every reference written by number.
 *
 * @throws XmlError with the position of what is not well-formed, or beyond the limits.
 */
export function guardXml(text: string, limits: XmlLimits): string {
  return new Guard(text, limits).run();
}

class Guard {
  readonly #text: string;
  readonly #limits: XmlLimits;
  readonly #name = new RegExp(NAME_PATTERN, "uy");
  readonly #open: string[] = [];
  readonly #out: string[] = [];
  #at = 0;
  #elements = 0;

  constructor(text: string, limits: XmlLimits) {
    this.#limits = limits;
    // The length is known; the bytes have to be counted.
    if (text.length > limits.maxBytes || Buffer.byteLength(text) > limits.maxBytes) {
      this.#text = "";
      this.#fail(`longer than ${limits.maxBytes} bytes`, "limit", 0);
    }
    const plain = text.startsWith("\uFEFF") ? text.slice(1) : text;
    this.#text = plain.includes("\r") ? plain.replace(/\r\n?/g, "\n") : plain;
  }

  run(): string {
    const text = this.#text;
    const illegal = illegalCharacterAt(text);
    if (illegal !== -1) this.#fail("a character that XML does not have", "syntax", illegal);
    DECLARATION.lastIndex = 0;
    if (DECLARATION.test(text)) this.#at = DECLARATION.lastIndex;
    while (this.#at < text.length) {
      const next = text.indexOf("<", this.#at);
      const end = next === -1 ? text.length : next;
      if (end > this.#at) this.#characters(end);
      if (next !== -1) this.#markup();
    }
    const unclosed = this.#open.at(-1);
    if (unclosed !== undefined) this.#fail(`the end of <${unclosed}> is missing`);
    if (this.#elements === 0) this.#fail("no element");
    return this.#out.join("");
  }

  #characters(end: number): void {
    const raw = this.#text.slice(this.#at, end);
    if (this.#open.length === 0) {
      const stray = raw.search(NOT_SPACE);
      if (stray !== -1) this.#fail("text outside of the root element", "syntax", this.#at + stray);
    } else {
      const close = raw.indexOf("]]>");
      if (close !== -1) this.#fail("']]>' in text", "syntax", this.#at + close);
      this.#out.push(this.#references(raw, this.#at));
    }
    this.#at = end;
  }

  #markup(): void {
    const text = this.#text;
    const at = this.#at;
    const second = text.charAt(at + 1);
    if (second === "/") return this.#endTag();
    if (second === "?") return this.#instruction();
    if (second !== "!") return this.#startTag();
    if (text.startsWith("<!--", at)) return this.#comment();
    if (text.startsWith("<![CDATA[", at)) return this.#cdata();
    if (text.startsWith("<!DOCTYPE", at)) this.#fail("a document type declaration", "doctype");
    this.#fail("unknown markup");
  }

  #startTag(): void {
    const { maxDepth, maxElements, maxAttributes } = this.#limits;
    const start = this.#at;
    this.#at += 1;
    const name = this.#takeName();
    this.#elements += 1;
    if (this.#elements > maxElements) this.#fail(`more than ${maxElements} elements`, "limit", start);
    if (this.#open.length >= maxDepth)
      this.#fail(`elements within each other more than ${maxDepth} deep`, "limit", start);
    if (this.#open.length === 0 && this.#elements > 1) this.#fail("a second root element", "syntax", start);
    this.#out.push("<", name);
    const seen = new Set<string>();
    for (;;) {
      const spaced = this.#skipSpace();
      const next = this.#text.charAt(this.#at);
      if (next === ">") {
        this.#open.push(name);
        this.#out.push(">");
        this.#at += 1;
        return;
      }
      if (next === "/" && this.#text.charAt(this.#at + 1) === ">") {
        this.#out.push("/>");
        this.#at += 2;
        return;
      }
      if (!spaced) this.#fail(`<${name}> goes on with what is neither attribute nor end`);
      if (seen.size >= maxAttributes) this.#fail(`more than ${maxAttributes} attributes`, "limit");
      this.#attribute(seen);
    }
  }

  #attribute(seen: Set<string>): void {
    const text = this.#text;
    const start = this.#at;
    const name = this.#takeName();
    if (seen.has(name)) this.#fail(`a second attribute ${name}`, "syntax", start);
    seen.add(name);
    this.#skipSpace();
    if (text.charAt(this.#at) !== "=") this.#fail(`attribute ${name} without '='`);
    this.#at += 1;
    this.#skipSpace();
    const quote = text.charAt(this.#at);
    if (quote !== '"' && quote !== "'") this.#fail(`attribute ${name} without quotes`);
    const valueStart = this.#at + 1;
    const end = text.indexOf(quote, valueStart);
    if (end === -1) this.#fail(`the value of attribute ${name} has no end`);
    const raw = text.slice(valueStart, end);
    const open = raw.indexOf("<");
    if (open !== -1) this.#fail("'<' in an attribute", "syntax", valueStart + open);
    const value = this.#references(raw.replace(/[\t\n]/g, " "), valueStart);
    this.#out.push(" ", name, '="', value.replaceAll('"', "&#34;"), '"');
    this.#at = end + 1;
  }

  #endTag(): void {
    const start = this.#at;
    this.#at += 2;
    const name = this.#takeName();
    this.#skipSpace();
    if (this.#text.charAt(this.#at) !== ">") this.#fail(`</${name} without '>'`);
    const open = this.#open.pop();
    if (open !== name) {
      this.#fail(open === undefined ? `</${name}> without a start` : `<${open}> ended by </${name}>`, "syntax", start);
    }
    this.#at += 1;
    this.#out.push("</", name, ">");
  }

  #comment(): void {
    const inside = this.#at + 4;
    const end = this.#text.indexOf("--", inside);
    if (end === -1) this.#fail("a comment has no end");
    if (this.#text.charAt(end + 2) !== ">") this.#fail("'--' in a comment", "syntax", end);
    this.#at = end + 3;
  }

  #instruction(): void {
    const start = this.#at;
    this.#at += 2;
    const target = this.#takeName();
    if (/^xml$/i.test(target)) this.#fail("an XML declaration that is malformed or not at the start", "syntax", start);
    const end = this.#text.indexOf("?>", this.#at);
    if (end === -1) this.#fail("a processing instruction has no end", "syntax", start);
    if (end !== this.#at && NOT_SPACE.test(this.#text.charAt(this.#at)))
      this.#fail("a malformed processing instruction");
    this.#at = end + 2;
  }

  #cdata(): void {
    if (this.#open.length === 0) this.#fail("text outside of the root element");
    const inside = this.#at + 9;
    const end = this.#text.indexOf("]]>", inside);
    if (end === -1) this.#fail("a CDATA section has no end");
    const escaped = this.#text.slice(inside, end).replace(SPECIAL, (character) => `&#${character.charCodeAt(0)};`);
    this.#out.push(escaped);
    this.#at = end + 3;
  }

  /** Every reference by number: then nothing that comes of one can look like another. */
  #references(raw: string, start: number): string {
    if (!raw.includes("&")) return raw;
    return raw.replace(/&(?:([^;&<\s]*);)?/g, (_whole, body: string | undefined, offset: number) => {
      const code = body === undefined ? undefined : referredTo(body);
      if (code !== undefined) return `&#${code};`;
      const isEntity = body !== undefined && isXmlName(body);
      const problem = isEntity ? "a reference to an entity that XML does not predefine" : "a malformed reference";
      return this.#fail(problem, isEntity ? "entity" : "syntax", start + offset);
    });
  }

  #takeName(): string {
    this.#name.lastIndex = this.#at;
    const name = this.#name.exec(this.#text)?.[0];
    if (name === undefined || !isXmlName(name)) this.#fail("a name was expected");
    this.#at += name.length;
    return name;
  }

  #skipSpace(): boolean {
    const start = this.#at;
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 32 && code !== 10 && code !== 9) return this.#at > start;
      this.#at += 1;
    }
  }

  #fail(problem: string, reason: XmlErrorReason = "syntax", offset: number = this.#at): never {
    throw new XmlError(problem, reason, positionAt(this.#text, offset));
  }
}

/** The code point of what stands between `&` and `;`, if it is a reference to one. */
function referredTo(body: string): number | undefined {
  const predefined = PREDEFINED.get(body);
  if (predefined !== undefined) return predefined;
  const digits = /^#(?:x0*([0-9a-fA-F]{1,6})|0*([0-9]{1,7}))$/.exec(body);
  if (digits === null) return undefined;
  const code = digits[1] === undefined ? Number(digits[2]) : parseInt(digits[1], 16);
  return isLegalCodePoint(code) ? code : undefined;
}

/**
 * Text as libvirt passes it on: UTF-8 as a rule, but names of files and volumes may be any bytes. A byte that is no UTF-8
 * becomes a lone surrogate (U+DC80 to U+DCFF) and goes back as the byte it was, so that what was listed can be looked up.
 */
const REPLACEMENT = "\ufffd";
const ESCAPE = 0xdc00;
const LONE_SURROGATE = /\p{Surrogate}/u;

export function decodeText(bytes: Buffer, start: number, end: number): string {
  const text = bytes.toString("utf8", start, end);
  if (!text.includes(REPLACEMENT)) return text;
  const source = bytes.subarray(start, end);
  return Buffer.from(text, "utf8").equals(source) ? text : decodeEscaped(source);
}

/** The bytes of a text; `undefined` when it holds a surrogate that stands for no byte. */
export function encodeText(text: string): Buffer | undefined {
  return LONE_SURROGATE.test(text) ? encodeEscaped(text) : Buffer.from(text, "utf8");
}

function decodeEscaped(source: Buffer): string {
  const parts: string[] = [];
  let at = 0;
  while (at < source.length) {
    const length = sequenceLength(source, at);
    if (length === 0) {
      parts.push(String.fromCharCode(ESCAPE + (source[at] ?? 0)));
      at += 1;
      continue;
    }
    let end = at + length;
    for (let next = sequenceLength(source, end); next > 0; next = sequenceLength(source, end)) end += next;
    parts.push(source.toString("utf8", at, end));
    at = end;
  }
  return parts.join("");
}

function encodeEscaped(text: string): Buffer | undefined {
  const parts: Buffer[] = [];
  for (const piece of text.split(/(\p{Surrogate})/u)) {
    const unit = piece.charCodeAt(0);
    const escaped = piece.length === 1 && unit >= 0xd800 && unit <= 0xdfff;
    if (!escaped) parts.push(Buffer.from(piece, "utf8"));
    else if (unit >= ESCAPE + 0x80 && unit <= ESCAPE + 0xff) parts.push(Buffer.of(unit - ESCAPE));
    else return undefined;
  }
  return Buffer.concat(parts);
}

/** How many bytes the well-formed UTF-8 sequence at a place has; 0 when there is none. RFC 3629, section 4. */
function sequenceLength(source: Buffer, at: number): number {
  const lead = source[at];
  if (lead === undefined) return 0;
  if (lead < 0x80) return 1;
  const [length, lowest, highest] = lead < 0xe0 ? [2, 0x80, 0xbf] : lead < 0xf0 ? three(lead) : four(lead);
  if (lead < 0xc2 || lead > 0xf4) return 0;
  for (let i = 1; i < length; i += 1) {
    const byte = source[at + i];
    if (byte === undefined || byte < (i === 1 ? lowest : 0x80) || byte > (i === 1 ? highest : 0xbf)) return 0;
  }
  return length;
}

function three(lead: number): [number, number, number] {
  return [3, lead === 0xe0 ? 0xa0 : 0x80, lead === 0xed ? 0x9f : 0xbf];
}

function four(lead: number): [number, number, number] {
  return [4, lead === 0xf0 ? 0x90 : 0x80, lead === 0xf4 ? 0x8f : 0xbf];
}

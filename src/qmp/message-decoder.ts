/** Bytes of a peer in, JSON objects out: bounded in length, nesting and tokens before anything is built from them. */
import { QmpProtocolError } from "./errors.js";
import { LineSplitter } from "./line-splitter.js";
import { MAX_JSON_DEPTH, parseJsonExactly } from "./parse-json.js";
import { isQmpObject } from "./qmp-value.js";
import type { QmpObject } from "./qmp-value.js";

/**
 * Longest message taken by default: 64 MiB, which is what QEMU itself takes. The biggest usual replies are the schema
 * (0.2 MB) and the captured output of a guest's program (up to 43 MB).
 */
export const DEFAULT_MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

const MAX_TOKENS = 2 * 1024 * 1024;
/** Up to here a message can't do harm by its shape: even a million brackets cost some 60 MB for a moment. */
const UNCHECKED_LENGTH = 1024 * 1024;
const LONG_DIGITS = 16;
const OPEN_BRACE = 0x7b;
const QUOTE = 0x22;

export interface MessageSink {
  /** A message; `text` is its JSON as it came. */
  message(message: QmpObject, text: string): void;
  /** The byte 0xFF of the guest agent. */
  marker?(): void;
  /** A line that is no message; when there is no such function, `push` throws the error. */
  garbage?(error: QmpProtocolError): void;
}

export interface MessageDecoderOptions {
  /** Longest message in bytes. Default: {@link DEFAULT_MAX_MESSAGE_BYTES}. */
  readonly maxMessageBytes?: number | undefined;
  /** For a peer inside a guest: checks the shape of every message, and minds the byte 0xFF. */
  readonly guestAgent?: boolean;
}

export class MessageDecoder {
  readonly #sink: MessageSink;
  readonly #splitter: LineSplitter;
  readonly #unchecked: number;

  constructor(sink: MessageSink, options: MessageDecoderOptions = {}) {
    const guestAgent = options.guestAgent ?? false;
    this.#sink = sink;
    this.#unchecked = guestAgent ? MAX_JSON_DEPTH : UNCHECKED_LENGTH;
    this.#splitter = new LineSplitter(
      { line: (text) => this.#line(text), marker: () => sink.marker?.() },
      { maxLineBytes: options.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES, resetOnMarker: guestAgent },
    );
  }

  /**
   * Takes the next bytes.
   * @throws QmpProtocolError for what is no message; the decoder is not to be used after that
   */
  push(chunk: Buffer): void {
    this.#splitter.push(chunk);
  }

  #line(line: string): void {
    const text = line.endsWith("\r") ? line.slice(0, -1) : line;
    if (text === "" || isBlank(text)) return;
    if (text.length > this.#unchecked) checkShape(text);
    const message = this.#parse(text, hasLongDigits(text));
    if (message !== undefined) this.#sink.message(message, text);
  }

  #parse(text: string, exactly: boolean): QmpObject | undefined {
    try {
      const message = parse(text, exactly);
      if (isQmpObject(message)) return message;
      throw notA("message", "not-a-message", text);
    } catch (error) {
      const garbage = error instanceof QmpProtocolError ? error : notA("JSON", "not-json", text, error);
      if (this.#sink.garbage === undefined) throw garbage;
      this.#sink.garbage(garbage);
      return undefined;
    }
  }
}

function parse(text: string, exactly: boolean): unknown {
  if (exactly) return parseJsonExactly(text);
  try {
    return JSON.parse(text);
  } catch {
    // QEMU may print `nan` and `inf`, which only our own parser takes.
    return parseJsonExactly(text);
  }
}

function notA(what: string, fault: "not-json" | "not-a-message", text: string, cause?: unknown): QmpProtocolError {
  const excerpt = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  return new QmpProtocolError(`the peer sent a line that is no ${what}`, {
    fault,
    detail: JSON.stringify(excerpt),
    cause,
  });
}

function isBlank(text: string): boolean {
  return text.charCodeAt(0) !== OPEN_BRACE && text.trim() === "";
}

/** Whether 16 or more digits stand in a row: only then can a number be beyond what a double holds. */
function hasLongDigits(text: string): boolean {
  // A run of 16 covers one of every 16 places, so that most characters need not be looked at.
  for (let at = LONG_DIGITS - 1; at < text.length; at += LONG_DIGITS) {
    if (!isDigit(text, at)) continue;
    let from = at;
    let to = at + 1;
    while (isDigit(text, from - 1)) from--;
    while (isDigit(text, to)) to++;
    if (to - from >= LONG_DIGITS) return true;
  }
  return false;
}

function isDigit(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code >= 0x30 && code <= 0x39;
}

/** Refuses what would take far more memory than its length: QEMU's own limits of nesting and tokens. */
function checkShape(text: string): void {
  let depth = 0;
  let tokens = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at);
    else if (code === OPEN_BRACE || code === 0x5b) {
      depth++;
      tokens++;
    } else if (code === 0x7d || code === 0x5d) depth--;
    else if (code === 0x2c || code === 0x3a) tokens++;
    if (depth > MAX_JSON_DEPTH || tokens > MAX_TOKENS) {
      throw new QmpProtocolError("the peer sent a message with too many parts", { fault: "too-complex" });
    }
  }
}

function endOfString(text: string, quote: number): number {
  let at = quote + 1;
  for (;;) {
    const code = text.charCodeAt(at);
    if (code === QUOTE || Number.isNaN(code)) return at;
    at += code === 0x5c ? 2 : 1;
  }
}

/** Cuts a byte stream into lines. Each byte is looked at and copied a bounded number of times, however the stream is split. */
import { QmpProtocolError } from "./errors.js";

const NEWLINE = 0x0a;
const KEPT_CAPACITY = 256 * 1024;

/** Where the pieces of a stream go. */
export interface LineSink {
  /** A line without its newline. */
  line(text: string): void;
  /** The byte 0xFF; whatever came before it on the same line has been dropped. */
  marker?(): void;
}

export interface LineSplitterOptions {
  /** Longest line taken, in bytes. */
  readonly maxLineBytes: number;
  /** The guest agent's rule: a byte 0xFF, which JSON never holds, drops the line so far and starts a new one. */
  readonly resetOnMarker?: boolean;
}

export class LineSplitter {
  readonly #sink: LineSink;
  readonly #max: number;
  readonly #markers: boolean;
  #held: Buffer = Buffer.alloc(0);
  #heldBytes = 0;

  constructor(sink: LineSink, options: LineSplitterOptions) {
    this.#sink = sink;
    this.#max = options.maxLineBytes;
    this.#markers = options.resetOnMarker ?? false;
  }

  /** Bytes of the line that has not ended yet. */
  get pendingBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Takes the next bytes and hands every line that ends in them to the sink.
   * @throws QmpProtocolError (`too-long`) as soon as a line is longer than the bound, and whatever the sink throws
   */
  push(chunk: Buffer): void {
    if (!this.#markers) return this.#split(chunk);
    let start = 0;
    for (;;) {
      const marker = chunk.indexOf(0xff, start);
      if (marker === -1) return this.#split(start === 0 ? chunk : chunk.subarray(start));
      this.#split(chunk.subarray(start, marker));
      this.#heldBytes = 0;
      this.#sink.marker?.();
      start = marker + 1;
    }
  }

  #split(chunk: Buffer): void {
    const last = chunk.lastIndexOf(NEWLINE);
    if (last === -1) return this.#hold(chunk, 0, chunk.length);
    const start = this.#heldBytes === 0 ? 0 : this.#finishHeld(chunk);
    if (start <= last) this.#splitText(chunk.toString("utf8", start, last));
    if (last + 1 < chunk.length) this.#hold(chunk, last + 1, chunk.length);
  }

  /** Lines that came whole: decoded in one go, which is much cheaper than one by one. */
  #splitText(text: string): void {
    let start = 0;
    for (;;) {
      const end = text.indexOf("\n", start);
      const length = (end === -1 ? text.length : end) - start;
      this.#check(length);
      this.#sink.line(start === 0 && end === -1 ? text : text.slice(start, start + length));
      if (end === -1) return;
      start = end + 1;
    }
  }

  /** Ends the line that was held with the first bytes of a chunk; returns where the next line starts. */
  #finishHeld(chunk: Buffer): number {
    const end = chunk.indexOf(NEWLINE);
    this.#hold(chunk, 0, end);
    const line = this.#held.toString("utf8", 0, this.#heldBytes);
    this.#heldBytes = 0;
    if (this.#held.length > KEPT_CAPACITY) this.#held = Buffer.alloc(0);
    this.#sink.line(line);
    return end + 1;
  }

  #hold(chunk: Buffer, start: number, end: number): void {
    const needed = this.#heldBytes + end - start;
    this.#check(needed);
    if (needed > this.#held.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, Math.min(this.#held.length * 2, this.#max), 1024));
      this.#held.copy(grown, 0, 0, this.#heldBytes);
      this.#held = grown;
    }
    chunk.copy(this.#held, this.#heldBytes, start, end);
    this.#heldBytes = needed;
  }

  #check(length: number): void {
    if (length <= this.#max) return;
    this.#held = Buffer.alloc(0);
    this.#heldBytes = 0;
    throw new QmpProtocolError(`the peer sent a line of more than ${this.#max} bytes`, { fault: "too-long" });
  }
}

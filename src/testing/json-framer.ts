/** Cuts what a client sends into JSON objects by their braces, as QEMU does: newlines between them mean nothing. */

export interface JsonFrameSink {
  /** The text of one object. */
  frame(text: string): void;
  /** Bytes that belong to no object, or the start of one that a control byte has cut short. */
  garbage(text: string): void;
}

/** Bytes that make QEMU's parser start anew: control characters and 0xFF, which JSON never holds. */
function isReset(byte: number): boolean {
  return byte === 0xff || (byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d);
}

export class JsonFramer {
  readonly #sink: JsonFrameSink;
  #bytes: number[] = [];
  #depth = 0;
  #inString = false;
  #escaped = false;

  constructor(sink: JsonFrameSink) {
    this.#sink = sink;
  }

  /** Forgets a half object, as QEMU's monitor does when its client goes. */
  reset(): void {
    this.#bytes = [];
    this.#depth = 0;
    this.#inString = false;
    this.#escaped = false;
  }

  push(chunk: Buffer): void {
    for (const byte of chunk) this.#take(byte);
  }

  #take(byte: number): void {
    if (isReset(byte)) return this.#cut(byte);
    if (this.#depth === 0 && byte !== 0x7b) {
      if (byte > 0x20) this.#sink.garbage(String.fromCharCode(byte));
      return;
    }
    this.#bytes.push(byte);
    if (this.#inString) this.#takeInString(byte);
    else if (byte === 0x22) this.#inString = true;
    else if (byte === 0x7b || byte === 0x5b) this.#depth++;
    else if ((byte === 0x7d || byte === 0x5d) && --this.#depth === 0) this.#deliver();
  }

  #takeInString(byte: number): void {
    if (this.#escaped) this.#escaped = false;
    else if (byte === 0x5c) this.#escaped = true;
    else if (byte === 0x22) this.#inString = false;
  }

  #cut(byte: number): void {
    const half = Buffer.from(this.#bytes).toString("utf8");
    this.reset();
    this.#sink.garbage(`${half}${String.fromCharCode(byte)}`);
  }

  #deliver(): void {
    const text = Buffer.from(this.#bytes).toString("utf8");
    this.reset();
    this.#sink.frame(text);
  }
}

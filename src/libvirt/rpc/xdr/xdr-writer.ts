/** Writes XDR (RFC 4506) from values that a caller gave, which are checked on the way. */
import { InvalidArgumentError } from "../../../core/index.js";
import { encodeText } from "./utf8.js";

/** The longest payload that fits into a frame of libvirt's. */
const MAX_BYTES = 33_554_408;
const FIRST_BYTES = 256;
const UUID = /^[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;

/** Throws `InvalidArgumentError` naming the path of the value, such as `arguments.dom.uuid`. */
export class XdrWriter {
  #bytes = Buffer.allocUnsafe(FIRST_BYTES);
  #at = 0;
  readonly #path: string[];

  /** @param root what the paths begin with: `arguments` */
  constructor(root: string) {
    this.#path = [root];
  }

  /** What was written; the writer is not to be used any more. */
  finish(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }

  /** Runs a function for a part of the value. `step` is `.name` or `[3]`. */
  within(step: string, write: () => void): void {
    this.#path.push(step);
    write();
    this.#path.pop();
  }

  int(value: unknown): void {
    this.small(value, -0x80000000, 0x7fffffff);
  }

  uint(value: unknown): void {
    this.#integer(value, 0, 0xffffffff);
    const at = this.#room(4);
    this.#bytes.writeUInt32BE(value, at);
  }

  small(value: unknown, lowest: number, highest: number): void {
    this.#integer(value, lowest, highest);
    const at = this.#room(4);
    this.#bytes.writeInt32BE(value, at);
  }

  hyper(value: unknown): void {
    const wide = this.#wide(value, -(2n ** 63n), 2n ** 63n - 1n);
    const at = this.#room(8);
    this.#bytes.writeBigInt64BE(wide, at);
  }

  uhyper(value: unknown): void {
    const wide = this.#wide(value, 0n, 2n ** 64n - 1n);
    const at = this.#room(8);
    this.#bytes.writeBigUInt64BE(wide, at);
  }

  double(value: unknown): void {
    if (typeof value !== "number") throw this.refuse(value, "a number");
    const at = this.#room(8);
    this.#bytes.writeDoubleBE(value, at);
  }

  /** How many items follow. */
  count(value: readonly unknown[], max: number): void {
    if (value.length > max) throw this.refuse(value, `at most ${max} items`);
    this.#length(value.length);
  }

  opaque(value: unknown, max: number): void {
    const bytes = this.#binary(value, max);
    this.#length(bytes.length);
    this.#raw(bytes);
  }

  string(value: unknown, max: number): void {
    const bytes = this.#text(value, max);
    this.#length(bytes.length);
    this.#raw(bytes);
  }

  uuid(value: unknown): void {
    if (typeof value !== "string" || !UUID.test(value)) throw this.refuse(value, "a UUID");
    this.#raw(Buffer.from(value.replaceAll("-", ""), "hex"));
  }

  /** An array of `char` that is a text: with its NUL when its length varies, filled up with NULs when it is fixed. */
  charText(value: unknown, length: number, fixed: boolean): void {
    const text = this.#text(value, length - 1);
    const chars = Buffer.alloc(fixed ? length : text.length + 1);
    text.copy(chars);
    if (!fixed) this.#length(chars.length);
    this.#chars(chars);
  }

  /** An array of `char` that is bytes. */
  charBytes(value: unknown, max: number): void {
    const bytes = this.#binary(value, max);
    this.#length(bytes.length);
    this.#chars(bytes);
  }

  /** The error to throw about the value at the current path. */
  refuse(value: unknown, expected: string): InvalidArgumentError {
    return new InvalidArgumentError({ field: this.#path.join(""), value, expected });
  }

  #integer(value: unknown, lowest: number, highest: number): asserts value is number {
    if (typeof value !== "number" || !Number.isInteger(value) || value < lowest || value > highest) {
      throw this.refuse(value, `an integer from ${lowest} to ${highest}`);
    }
  }

  #wide(value: unknown, lowest: bigint, highest: bigint): bigint {
    if (typeof value !== "bigint" || value < lowest || value > highest) {
      throw this.refuse(value, `a bigint from ${lowest} to ${highest}`);
    }
    return value;
  }

  #binary(value: unknown, max: number): Uint8Array {
    if (!(value instanceof Uint8Array)) throw this.refuse(value, "a Buffer or a Uint8Array");
    if (value.length > max) throw this.refuse(`${value.length} bytes`, `at most ${max} bytes`);
    return value;
  }

  #text(value: unknown, max: number): Buffer {
    if (typeof value !== "string") throw this.refuse(value, "a text");
    if (value.includes("\0")) throw this.refuse(value, "a text without NUL");
    // A text of more characters than bytes allowed is refused before it is encoded.
    const bytes = value.length > max ? undefined : encodeText(value);
    if (value.length > max || (bytes !== undefined && bytes.length > max)) {
      throw this.refuse(`a text of ${value.length} characters`, `at most ${max} bytes of UTF-8`);
    }
    if (bytes === undefined) throw this.refuse(value, "a text without lone surrogates");
    return bytes;
  }

  #length(length: number): void {
    const at = this.#room(4);
    this.#bytes.writeUInt32BE(length, at);
  }

  #raw(bytes: Uint8Array): void {
    const padding = -bytes.length & 3;
    const start = this.#room(bytes.length + padding);
    this.#bytes.set(bytes, start);
    this.#bytes.fill(0, start + bytes.length, start + bytes.length + padding);
  }

  /** Each of the bytes as a signed number of four. */
  #chars(chars: Uint8Array): void {
    let at = this.#room(chars.length * 4);
    for (const char of chars) at = this.#bytes.writeInt32BE((char << 24) >> 24, at);
  }

  /** The place of the next `length` bytes. The buffer may be another one after it. */
  #room(length: number): number {
    const start = this.#at;
    const end = start + length;
    if (end > MAX_BYTES) throw this.refuse(`more than ${MAX_BYTES} bytes`, "what fits into one message");
    if (end > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.min(MAX_BYTES, Math.max(end, this.#bytes.length * 2)));
      this.#bytes.copy(grown, 0, 0, start);
      this.#bytes = grown;
    }
    this.#at = end;
    return start;
  }
}

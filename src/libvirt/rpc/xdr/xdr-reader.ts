/** Reads XDR (RFC 4506) out of bytes that a peer sent: no length is believed before it is checked. */
import { LibvirtProtocolError } from "../errors.js";
import { decodeText } from "./utf8.js";

/** Throws `LibvirtProtocolError` for everything that is not there or not allowed; allocates nothing that the bytes do not hold. */
export class XdrReader {
  readonly #bytes: Buffer;
  readonly #what: string;
  #at = 0;

  /** @param what what is being read, for messages: `the result of domainGetInfo` */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }

  /** How many bytes are left. */
  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  int(): number {
    return this.#bytes.readInt32BE(this.#take(4));
  }

  uint(): number {
    return this.#bytes.readUInt32BE(this.#take(4));
  }

  /** A number that C keeps in less than the 4 bytes it takes here. */
  small(lowest: number, highest: number): number {
    const value = this.int();
    if (value < lowest || value > highest)
      throw this.refuse(`the number ${value} where ${lowest} to ${highest} may be`);
    return value;
  }

  hyper(): bigint {
    return this.#bytes.readBigInt64BE(this.#take(8));
  }

  uhyper(): bigint {
    return this.#bytes.readBigUInt64BE(this.#take(8));
  }

  double(): number {
    return this.#bytes.readDoubleBE(this.#take(8));
  }

  /** Whether an optional value follows. */
  present(): boolean {
    return this.small(0, 1) === 1;
  }

  /**
   * The number of items that follow.
   * @param max how many there may be
   * @param itemBytes how many bytes each of them takes at least
   */
  count(max: number, itemBytes: number): number {
    const count = this.uint();
    if (count > max) throw this.refuse(`${count} items where at most ${max} may be`);
    if (count * itemBytes > this.remaining) throw this.refuse(`${count} items in ${this.remaining} bytes`);
    return count;
  }

  /** Bytes of variable length, copied. */
  opaque(max: number): Buffer {
    const length = this.#length(max);
    const start = this.#take(padded(length));
    return Buffer.from(this.#bytes.subarray(start, start + length));
  }

  string(max: number): string {
    const length = this.#length(max);
    const start = this.#take(padded(length));
    const text = decodeText(this.#bytes, start, start + length);
    if (text.includes("\0")) throw this.refuse("a NUL within a text");
    return text;
  }

  /** 16 bytes as libvirt writes a UUID. */
  uuid(): string {
    const start = this.#take(16);
    const hex = this.#bytes.toString("hex", start, start + 16);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  }

  /** Bytes of which each takes four: an array of `char`. */
  chars(count: number): Buffer {
    if (count * 4 > this.remaining) throw this.refuse(`${count} characters in ${this.remaining} bytes`);
    const chars = Buffer.alloc(count);
    for (let i = 0; i < count; i += 1) chars[i] = this.small(-128, 255);
    return chars;
  }

  /** The error to throw about what stands here. */
  refuse(found: string): LibvirtProtocolError {
    return new LibvirtProtocolError(`${this.#what} can't be read: ${found}, before byte ${this.#at}`);
  }

  #length(max: number): number {
    const length = this.uint();
    if (length > max) throw this.refuse(`a length of ${length} where at most ${max} may be`);
    return length;
  }

  #take(length: number): number {
    const start = this.#at;
    if (length > this.#bytes.length - start) throw this.refuse(`${this.remaining} bytes where ${length} were to come`);
    this.#at = start + length;
    return start;
  }
}

function padded(length: number): number {
  return (length + 3) & ~3;
}

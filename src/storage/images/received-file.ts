/** The file that bytes of a stream go into: hashed, counted and bounded as they come, its holes kept. */
import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { throwIfAborted } from "../../core/index.js";
import type { ChecksumAlgorithm, CopyResult } from "../copy-file.js";
import { ImageUnacceptableError } from "../errors.js";
import { writeSparse } from "../write-sparse.js";

export interface ReceivedFileOptions {
  readonly checksum: ChecksumAlgorithm;
  /** More bytes are refused. */
  readonly maxBytes: number;
  /** Take what the file holds already for the first bytes; default: it must not exist. */
  readonly resume?: boolean;
  readonly signal?: AbortSignal | undefined;
}

const BLOCK_BYTES = 1024 * 1024;

/** `bytes` is how many have come; they are all in the file after `flush` and `finish`. */
export class ReceivedFile {
  readonly #file: FileHandle;
  readonly #options: ReceivedFileOptions;
  readonly #block = Buffer.allocUnsafe(BLOCK_BYTES);
  #pending = 0;
  #written = 0;
  #hash: Hash;

  private constructor(file: FileHandle, options: ReceivedFileOptions) {
    this.#file = file;
    this.#options = options;
    this.#hash = createHash(options.checksum);
  }

  /** Makes a file of mode 0600, or goes on with one. Throws what the system throws. */
  static async open(path: string, options: ReceivedFileOptions): Promise<ReceivedFile> {
    const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    const file = await open(path, O_RDWR | O_CREAT | O_NOFOLLOW | (options.resume === true ? 0 : O_EXCL), 0o600);
    const received = new ReceivedFile(file, options);
    try {
      if (options.resume === true) await received.#readBack();
    } catch (error) {
      await file.close();
      throw error;
    }
    return received;
  }

  get bytes(): number {
    return this.#written + this.#pending;
  }

  /** @throws ImageUnacceptableError when a file of so many bytes would be too large. */
  checkSize(bytes: number): void {
    const { maxBytes } = this.#options;
    if (bytes > maxBytes)
      throw new ImageUnacceptableError(`the image is larger than the ${maxBytes} bytes that are allowed`);
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.checkSize(this.bytes + chunk.length);
    this.#hash.update(chunk);
    for (let taken = 0; taken < chunk.length;) {
      const part = chunk.subarray(taken, taken + BLOCK_BYTES - this.#pending);
      this.#block.set(part, this.#pending);
      this.#pending += part.length;
      taken += part.length;
      if (this.#pending === BLOCK_BYTES) await this.#empty();
    }
  }

  /** Forgets all that has come. */
  async restart(): Promise<void> {
    await this.#file.truncate(0);
    [this.#pending, this.#written] = [0, 0];
    this.#hash = createHash(this.#options.checksum);
  }

  /** The file holds every byte that has come. */
  async flush(): Promise<void> {
    await this.#empty();
    await this.#file.truncate(this.#written);
  }

  /** On stable storage when it resolves. */
  async finish(): Promise<Required<CopyResult>> {
    await this.flush();
    await this.#file.sync();
    return { bytes: this.#written, checksum: `${this.#options.checksum}:${this.#hash.copy().digest("hex")}` };
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #empty(): Promise<void> {
    if (this.#pending === 0) return;
    await writeSparse(this.#file, this.#block.subarray(0, this.#pending), this.#written);
    this.#written += this.#pending;
    this.#pending = 0;
  }

  async #readBack(): Promise<void> {
    for (;;) {
      throwIfAborted(this.#options.signal);
      const { bytesRead } = await this.#file.read(this.#block, 0, BLOCK_BYTES, this.#written);
      if (bytesRead === 0) break;
      this.#hash.update(this.#block.subarray(0, bytesRead));
      this.#written += bytesRead;
    }
    this.checkSize(this.#written);
  }
}

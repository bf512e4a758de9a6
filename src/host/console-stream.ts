/** Both directions of a guest's serial console. */
import { Duplex } from "node:stream";

/** How much is kept for a reader that does not read; then the oldest makes way. */
const BACKLOG_BYTES = 1_048_576;

/**
 * A guest's console as a stream. It never holds the guest up: a UART has no flow control, and QEMU would stop the guest for a reader that does not
 * read. What a slow reader has missed is counted in `droppedBytes`.
 */
export class ConsoleStream extends Duplex {
  readonly #source: Duplex;
  #backlog: Buffer[] = [];
  #backlogBytes = 0;
  #flowing = false;
  #ended = false;
  /** Bytes that were dropped because nobody read them in time. */
  droppedBytes = 0;

  /** @param source what carries the console: read at once, whoever reads here; destroyed with this */
  constructor(source: Duplex) {
    super({ allowHalfOpen: false, emitClose: true });
    this.#source = source;
    source.on("data", (chunk: Buffer) => this.#take(chunk));
    source.once("close", () => this.#end());
    source.on("error", () => source.destroy());
  }

  override _read(): void {
    this.#flowing = true;
    while (this.#flowing && this.#backlog.length > 0) {
      const chunk = this.#backlog.shift() as Buffer;
      this.#backlogBytes -= chunk.length;
      this.#flowing = this.push(chunk);
    }
    if (this.#ended && this.#backlog.length === 0) this.push(null);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    if (this.#source.destroyed) callback();
    else this.#source.write(chunk, (error) => callback(error));
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#backlog = [];
    this.#source.destroy();
    callback(error);
  }

  #take(chunk: Buffer): void {
    if (this.#flowing) {
      this.#flowing = this.push(chunk);
      return;
    }
    this.#backlog.push(chunk);
    this.#backlogBytes += chunk.length;
    while (this.#backlogBytes > BACKLOG_BYTES) {
      const oldest = this.#backlog.shift() as Buffer;
      this.#backlogBytes -= oldest.length;
      this.droppedBytes += oldest.length;
    }
  }

  #end(): void {
    this.#ended = true;
    if (this.#backlog.length === 0) this.push(null);
  }
}

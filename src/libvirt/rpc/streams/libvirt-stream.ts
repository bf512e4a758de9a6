/** A stream of libvirt as a stream of Node: a console, a volume's data, a screenshot, the memory of a migrating guest. */
import { Duplex } from "node:stream";
import {
  Deadline,
  DeadlineExceededError,
  InvalidArgumentError,
  abortErrorOf,
  asError,
  onAbort,
} from "../../../core/index.js";
import type { Clock } from "../../../core/index.js";
import type { LibvirtCallOptions } from "../window.js";
import { MAX_STREAM_PACKET } from "./stream-channel.js";
import type { StreamChannel, StreamHole } from "./stream-channel.js";

/** How a stream is opened, and how much of it waits here. */
export interface LibvirtStreamOptions extends LibvirtCallOptions {
  /**
   * Whether holes are told apart from data: what is read and written are then buffers and `{ hole: bytes }`. Only for
   * procedures that offer it (volume upload and download). Default: whether the call's flags ask for it.
   */
  readonly sparse?: boolean | undefined;
  /** How many bytes may wait unread before the whole connection is held up. Default: 1 MiB. */
  readonly bufferBytes?: number | undefined;
  /** The same while calls on the connection await replies, which come behind the stream's data. Default: 32 MiB. */
  readonly maxBufferedBytes?: number | undefined;
  /**
   * Whether the stream gets a connection of its own, which ends with it: a slow reader or writer then holds up nothing else.
   * For bulk data. Default: false.
   */
  readonly dedicated?: boolean | undefined;
}

export const DEFAULT_STREAM_BUFFER_BYTES = 1_048_576;
export const DEFAULT_STREAM_MAX_BUFFERED_BYTES = 33_554_432;

/** What a stream needs beside its channel. */
export interface LibvirtStreamSetup {
  readonly channel: StreamChannel;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** How long the daemon may take to confirm the end. */
  readonly finishMs: number;
  /** How long the daemon may take nothing of what is written. */
  readonly stallMs: number;
  readonly onceDrained: (callback: () => void) => () => void;
  /** What the opening call gave beside the stream. */
  readonly result: unknown;
  /** How much the opening call said that would be written; undefined where it left that open. */
  readonly length?: bigint | undefined;
}

/** Node takes them; the types of some releases don't name them. */
interface DuplexDirections {
  readonly readable: boolean;
  readonly writable: boolean;
}

/**
 * - Reading ends when the daemon has sent all and has confirmed that all was well; else with its error.
 * - Where the call that opened it had a `length` other than 0, writing more fails with InvalidArgumentError; the stream is broken off.
 * - `end()` finishes the stream; `finish` is emitted when the daemon has confirmed that it has taken all.
 * - `destroy()`, {@link LibvirtStream.abort} and the signal break it off; `close` is emitted when the daemon knows.
 * - The end of either direction ends the other: libvirt's streams have one end.
 *
 * `Duplex.toWeb()` makes Web streams of it.
 */
export class LibvirtStream extends Duplex {
  /** The procedure that opened it. */
  readonly procedure: string;
  /** What the opening call gave beside the stream, such as a screenshot's MIME type. */
  readonly result: unknown;
  readonly #setup: LibvirtStreamSetup;
  readonly #channel: StreamChannel;
  #room: bigint | undefined;
  #reading = false;
  #unwatch: () => void = () => undefined;
  #ended = false;

  constructor(setup: LibvirtStreamSetup) {
    const { channel } = setup;
    const direction = channel.procedure.stream ?? "both";
    const directions: DuplexDirections = { readable: direction !== "write", writable: direction !== "read" };
    super({
      ...directions,
      allowHalfOpen: false,
      readableObjectMode: channel.sparse,
      writableObjectMode: channel.sparse,
      ...(channel.sparse ? {} : { highWaterMark: MAX_STREAM_PACKET }),
    });
    this.#setup = setup;
    this.#channel = channel;
    this.#room = setup.length;
    this.procedure = channel.procedure.name;
    this.result = setup.result;
    channel.listen({
      readable: () => {
        if (this.#reading) this.#pump();
      },
      failed: (error) => {
        this.destroy(error);
      },
    });
    const { signal } = setup;
    if (signal !== undefined) this.#unwatch = onAbort(signal, () => this.destroy(abortErrorOf(signal, this.procedure)));
    if (channel.failure !== undefined) this.destroy(channel.failure);
  }

  /** Breaks the stream off and resolves when the daemon has confirmed it, or its connection is gone. Never rejects. */
  async abort(): Promise<void> {
    const gone = new Promise<void>((resolve) => (this.closed ? resolve() : this.once("close", resolve)));
    this.destroy();
    await gone;
  }

  override _read(): void {
    this.#reading = true;
    this.#pump();
  }

  override _write(
    chunk: Buffer | string | StreamHole,
    encoding: BufferEncoding,
    callback: (error?: Error | null) => void,
  ): void {
    const channel = this.#channel;
    let go: boolean;
    if (typeof chunk === "object" && "hole" in chunk) {
      const refusal = checkHole(chunk) ?? this.#take(chunk.hole);
      if (refusal !== undefined) return callback(refusal);
      go = channel.writeHole(chunk.hole);
    } else {
      const data = typeof chunk === "string" ? Buffer.from(chunk, encoding) : chunk;
      if (!(data instanceof Uint8Array))
        return callback(new InvalidArgumentError({ field: "chunk", value: chunk, expected: "bytes or a hole" }));
      const refusal = this.#take(BigInt(data.length));
      if (refusal !== undefined) return callback(refusal);
      go = channel.write(data);
    }
    if (go) return callback();
    this.#afterDrain(callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#channel.finish();
    this.#confirmed("finishing a stream").then(
      () => callback(this.#channel.failure ?? null),
      (error: unknown) => callback(asError(error)),
    );
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#unwatch();
    this.#channel.abort();
    const done = (): void => callback(error);
    this.#confirmed("breaking a stream off").then(done, done);
  }

  /**
   * More than the opening call announced does not leave: the daemon would refuse it, and libvirt 11.3 hangs for all its clients
   * when a write to a stream fails.
   */
  #take(bytes: bigint): Error | undefined {
    if (this.#room === undefined) return undefined;
    if (bytes <= this.#room) {
      this.#room -= bytes;
      return undefined;
    }
    const { length = 0n } = this.#setup;
    const value = length - this.#room + bytes;
    return new InvalidArgumentError({ field: "length", value, expected: `what the call announced: ${length} bytes` });
  }

  #pump(): void {
    while (this.#reading) {
      const part = this.#channel.read();
      if (part === undefined) break;
      this.#reading = this.push(part);
    }
    // A read that found nothing stays wanted: the channel tells when something comes.
    if (this.#channel.exhausted && this.#channel.failure === undefined && !this.#ended) {
      this.#ended = true;
      this.#reading = false;
      this.push(null);
    }
  }

  /** Lets the next write come when the connection has taken this one. */
  #afterDrain(callback: (error?: Error | null) => void): void {
    const { clock, stallMs, onceDrained } = this.#setup;
    const timer = clock.setTimeout(() => {
      forget();
      callback(new DeadlineExceededError({ operation: `${this.procedure}: writing`, timeoutMs: stallMs }));
    }, stallMs);
    const forget = onceDrained(() => {
      timer.cancel();
      callback();
    });
  }

  /** Resolves when the channel is closed. @throws DeadlineExceededError */
  async #confirmed(operation: string): Promise<void> {
    if (this.#channel.state === "closed") return;
    const { clock, finishMs } = this.#setup;
    const deadline = Deadline.after(finishMs, { operation, clock });
    try {
      await deadline.race(this.#channel.closed);
    } finally {
      deadline.dispose();
    }
  }
}

function checkHole({ hole }: StreamHole): Error | undefined {
  const fine = typeof hole === "bigint" && hole >= 0n && hole < 1n << 63n;
  return fine
    ? undefined
    : new InvalidArgumentError({ field: "hole", value: hole, expected: "a length in bytes, as a bigint from 0" });
}

/** A Node stream that belongs to one owner: bytes both ways, one end that is told once, and times at which nothing else is sent. */
import type { Duplex } from "node:stream";
import { BusyError, abortErrorOf, asError, onAbort, systemClock } from "../core/index.js";
import type { Clock } from "../core/index.js";

/** Where a stream's bytes go. */
export interface ByteSink {
  /** The next bytes from the peer. */
  data(chunk: Buffer): void;
  /** What was written has left this process, after {@link ByteStream.send} had said that it was full. */
  drained?(): void;
  /** The stream is over, once and for all; `error` when it did not end in an orderly way. Called exactly once. */
  ended(error?: Error): void;
}

export interface ByteStreamOptions {
  readonly clock?: Clock | undefined;
  /** Whether what is sent in one turn of the event loop leaves in one system call. Default: false. */
  readonly gather?: boolean | undefined;
  /** Says why the stream ended, where the stream itself does not know: a program's standard error. */
  readonly explain?: (() => Promise<Error | undefined>) | undefined;
}

interface RefCounted {
  ref?: () => unknown;
  unref?: () => unknown;
}

/** Wraps a connected stream: a socket, one end of a socketpair, the standard streams of a child. It is destroyed in the end. */
export class ByteStream {
  readonly #stream: Duplex;
  readonly #options: ByteStreamOptions;
  #sink: ByteSink | undefined;
  #error: Error | undefined;
  #ended = false;
  #corked = false;
  /** What waits while something is sent that nothing may come between; undefined when nothing is held back. */
  #held: (string | Uint8Array)[] | undefined;

  constructor(stream: Duplex, options: ByteStreamOptions = {}) {
    this.#options = options;
    this.#stream = stream;
    // Errors may come before start() and after the end; nobody else listens for them.
    stream.on("error", (error) => {
      this.#error ??= error;
      if (this.#sink !== undefined) this.#end();
    });
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Whether bytes wait that the kernel, or the peer, has not taken. */
  get blocked(): boolean {
    return this.#stream.writableLength > 0 || this.#held !== undefined;
  }

  /** Starts delivery. Called once, before anything else. */
  start(sink: ByteSink): void {
    const stream = this.#stream;
    this.#sink = sink;
    stream.on("data", (chunk: Buffer | string) => {
      if (!this.#ended) sink.data(typeof chunk === "string" ? Buffer.from(chunk) : chunk);
    });
    stream.on("drain", () => {
      if (!this.#ended) sink.drained?.();
    });
    stream.once("end", () => this.#end());
    stream.once("close", () => this.#end());
    if (stream.destroyed || stream.readableEnded) this.#end();
  }

  /** Queues bytes; false when so many wait that the sender should pause. Never throws: a failure ends the stream. */
  send(data: string | Uint8Array): boolean {
    if (this.#held !== undefined) {
      this.#held.push(data);
      return false;
    }
    const stream = this.#stream;
    if (this.#ended || !stream.writable) return true;
    if (this.#options.gather === true && !this.#corked) {
      this.#corked = true;
      stream.cork();
      queueMicrotask(() => {
        this.#corked = false;
        stream.uncork();
      });
    }
    return stream.write(data);
  }

  /**
   * Runs `task` while what others send waits behind it. `write` in it goes past those.
   * @throws BusyError when another such task runs; what the task throws
   */
  async exclusively(task: (write: (data: Uint8Array) => void) => Promise<void>): Promise<void> {
    if (this.#held !== undefined) throw new BusyError("descriptors are already on their way");
    const held: (string | Uint8Array)[] = [];
    this.#held = held;
    try {
      await task((data) => {
        if (!this.#ended) this.#stream.write(data);
      });
    } finally {
      this.#held = undefined;
      for (const later of held) this.send(later);
      if (!this.#ended && !this.#stream.writableNeedDrain) this.#sink?.drained?.();
    }
  }

  /** Resolves when all that was written has been given to the kernel, or the stream is gone. @throws the signal's reason */
  flushed(signal?: AbortSignal): Promise<void> {
    const stream = this.#stream;
    if (signal?.aborted === true) return Promise.reject(abortErrorOf(signal));
    if (stream.writableLength === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const forget = onAbort(signal, () => {
        stream.removeListener("close", done);
        if (signal !== undefined) reject(abortErrorOf(signal));
      });
      const done = (): void => {
        forget();
        stream.removeListener("close", done);
        resolve();
      };
      stream.once("close", done);
      // The callback of a write runs when it and all before it are through; an empty one changes nothing for the peer.
      stream.write("", done);
    });
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  /** Ends the stream at once, for that reason. */
  destroy(error: unknown): void {
    this.#stream.destroy(asError(error));
  }

  /** Ends the stream after what was sent has left this process, or `graceMs` later. Never rejects. */
  async close(graceMs: number): Promise<void> {
    const stream = this.#stream;
    if (!stream.destroyed) {
      if (!this.#ended && stream.writable && stream.writableLength > 0) await this.#finish(graceMs);
      stream.destroy();
    }
    this.#end();
  }

  /** Keeps the process alive while the stream is open, where the stream can. */
  ref(): void {
    (this.#stream as RefCounted).ref?.();
  }

  /** Undoes {@link ByteStream.ref}. */
  unref(): void {
    (this.#stream as RefCounted).unref?.();
  }

  #finish(graceMs: number): Promise<void> {
    const { clock = systemClock } = this.#options;
    return new Promise((resolve) => {
      const timer = clock.setTimeout(resolve, graceMs);
      const done = (): void => {
        timer.cancel();
        resolve();
      };
      this.#stream.once("close", done);
      this.#stream.once("error", done);
      this.#stream.end(done);
    });
  }

  #end(): void {
    const sink = this.#sink;
    if (this.#ended || sink === undefined) return;
    this.#ended = true;
    this.#stream.destroy();
    const { explain } = this.#options;
    if (explain === undefined) return sink.ended(this.#error);
    explain().then(
      (error) => sink.ended(error ?? this.#error),
      () => sink.ended(this.#error),
    );
  }
}

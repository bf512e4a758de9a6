/** A transport over a Node stream: a connected socket, one end of a socketpair, the standard streams of a child. */
import type { Duplex } from "node:stream";
import { BusyError, abortErrorOf, systemClock } from "../core/index.js";
import type { Clock } from "../core/index.js";
import type { FdPassing } from "./fd-passing.js";
import type { QmpTransport, QmpTransportSink } from "./transport.js";

export interface StreamTransportOptions {
  /** What the stream is connected to, for error messages. Default: `stream`. */
  readonly description?: string | undefined;
  readonly clock?: Clock | undefined;
  /** Without it descriptors can't be passed. */
  readonly fdPassing?: FdPassing | undefined;
}

const MAX_ATOMIC_BYTES = 4096;

interface RefCounted {
  ref?: () => unknown;
  unref?: () => unknown;
}

/** Wraps a connected stream; from then on the stream belongs to the transport, which destroys it in the end. */
export function streamTransport(stream: Duplex, options: StreamTransportOptions = {}): QmpTransport {
  const transport = new StreamTransport(stream, options);
  const { fdPassing } = options;
  if (fdPassing === undefined) return transport;
  return Object.assign(transport, {
    sendWithFds: (data: string, fds: readonly number[], signal: AbortSignal) =>
      transport.sendExclusively(signal, fdPassing, Buffer.from(data), fds),
  });
}

class StreamTransport implements QmpTransport {
  readonly description: string;
  readonly #stream: Duplex;
  readonly #clock: Clock;
  #sink: QmpTransportSink | undefined;
  #error: Error | undefined;
  #ended = false;
  /** What waits while descriptors are on their way; undefined when nothing is held back. */
  #held: (string | Buffer)[] | undefined;

  constructor(stream: Duplex, options: StreamTransportOptions) {
    this.description = options.description ?? "stream";
    this.#clock = options.clock ?? systemClock;
    this.#stream = stream;
    // Errors may come before start() and after the end; nobody else listens for them.
    stream.on("error", (error) => {
      this.#error ??= error;
      if (this.#sink !== undefined) this.#end();
    });
  }

  start(sink: QmpTransportSink): void {
    const stream = this.#stream;
    this.#sink = sink;
    stream.on("data", (chunk: Buffer | string) => {
      if (!this.#ended) sink.data(typeof chunk === "string" ? Buffer.from(chunk) : chunk);
    });
    stream.once("end", () => this.#end());
    stream.once("close", () => this.#end());
    if (stream.destroyed || stream.readableEnded) this.#end();
  }

  send(data: string | Buffer): void {
    if (this.#held !== undefined) this.#held.push(data);
    else if (!this.#ended && this.#stream.writable) this.#stream.write(data);
  }

  async sendExclusively(signal: AbortSignal, passing: FdPassing, data: Buffer, fds: readonly number[]): Promise<void> {
    if (this.#held !== undefined) throw new BusyError("descriptors are already on their way");
    const held: (string | Buffer)[] = [];
    this.#held = held;
    try {
      const send = await passing.load();
      await this.#drained(signal);
      if (signal.aborted) throw abortErrorOf(signal);
      // Asked for at the last moment: the number of a closed socket may soon be another file's.
      const socketFd = this.#ended ? undefined : passing.socketFd();
      if (socketFd === undefined) return;
      // The kernel takes a small message whole or not at all; a large one goes after a byte that carries the descriptors.
      const whole = data.length <= MAX_ATOMIC_BYTES;
      await send(socketFd, whole ? data : Buffer.from(" "), fds, signal);
      if (!whole && !this.#ended) this.#stream.write(data);
    } finally {
      this.#held = undefined;
      for (const later of held) this.send(later);
    }
  }

  async close(graceMs: number): Promise<void> {
    const stream = this.#stream;
    if (!stream.destroyed) {
      if (!this.#ended && stream.writable && stream.writableLength > 0) await this.#flush(graceMs);
      stream.destroy();
    }
    this.#end();
  }

  ref(): void {
    (this.#stream as RefCounted).ref?.();
  }

  unref(): void {
    (this.#stream as RefCounted).unref?.();
  }

  #flush(graceMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.setTimeout(resolve, graceMs);
      const done = (): void => {
        timer.cancel();
        resolve();
      };
      this.#stream.once("close", done);
      this.#stream.once("error", done);
      this.#stream.end(done);
    });
  }

  /** Waits until every byte written so far has been given to the kernel. */
  #drained(signal: AbortSignal): Promise<void> {
    const stream = this.#stream;
    if (stream.writableLength === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        forget();
        reject(abortErrorOf(signal));
      };
      const onDone = (): void => {
        forget();
        resolve();
      };
      const forget = (): void => {
        signal.removeEventListener("abort", onAbort);
        stream.removeListener("close", onDone);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      stream.once("close", onDone);
      // The callback of a write runs when it and all before it are through; an empty write changes nothing for the peer.
      stream.write("", onDone);
    });
  }

  #end(): void {
    if (this.#ended || this.#sink === undefined) return;
    this.#ended = true;
    this.#stream.destroy();
    this.#sink.ended(this.#error);
  }
}

/** A transport over a Node stream: a connected socket, a TLS socket, the standard streams of a child. */
import { fstatSync } from "node:fs";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { BusyError, ClosedError, InvalidArgumentError, asError, raceAbort, systemClock } from "../../../core/index.js";
import type { Clock } from "../../../core/index.js";
import { defaultFdSender, writeWithFds } from "../../../host/index.js";
import type { LibvirtTransport, LibvirtTransportSink, SendFdsLimits } from "./transport.js";

export interface StreamTransportOptions {
  /** What the stream is connected to, for error messages. Default: `stream`. */
  readonly description?: string | undefined;
  readonly clock?: Clock | undefined;
  /** The UNIX socket under the stream, over which descriptors can be passed. */
  readonly fdSocket?: Socket | undefined;
  /** Says why the stream ended, where the stream itself does not know: a program's standard error. */
  readonly explain?: (() => Promise<Error | undefined>) | undefined;
}

interface RefCounted {
  ref?: () => unknown;
  unref?: () => unknown;
}

/** Wraps a connected stream; from then on the stream belongs to the transport, which destroys it in the end. */
export function streamTransport(stream: Duplex, options: StreamTransportOptions = {}): LibvirtTransport {
  const transport = new StreamTransport(stream, options);
  const { fdSocket } = options;
  if (fdSocket === undefined) return transport;
  return Object.assign(transport, {
    sendWithFds: (data: Uint8Array, fds: readonly number[], limits: SendFdsLimits) =>
      transport.passFds(fdSocket, data, fds, limits),
  });
}

/** The stream as a UNIX socket, if it is one: sockets of TCP have an address at the other end. */
export function unixSocketOf(stream: unknown): Socket | undefined {
  return stream instanceof Socket && stream.remoteAddress === undefined ? stream : undefined;
}

class StreamTransport implements LibvirtTransport {
  readonly description: string;
  readonly #stream: Duplex;
  readonly #options: StreamTransportOptions;
  readonly #clock: Clock;
  #sink: LibvirtTransportSink | undefined;
  #error: Error | undefined;
  #ended = false;
  #corked = false;
  /** What waits while descriptors are on their way; undefined when nothing is held back. */
  #held: Uint8Array[] | undefined;

  constructor(stream: Duplex, options: StreamTransportOptions) {
    this.description = options.description ?? "stream";
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#stream = stream;
    // Errors may come before start() and after the end; nobody else listens for them.
    stream.on("error", (error) => {
      this.#error ??= error;
      if (this.#sink !== undefined) this.#end();
    });
  }

  get blocked(): boolean {
    return this.#stream.writableLength > 0 || this.#held !== undefined;
  }

  start(sink: LibvirtTransportSink): void {
    const stream = this.#stream;
    this.#sink = sink;
    stream.on("data", (chunk: Buffer) => {
      if (!this.#ended) sink.data(chunk);
    });
    stream.on("drain", () => {
      if (!this.#ended) sink.drained();
    });
    stream.once("end", () => this.#end());
    stream.once("close", () => this.#end());
    if (stream.destroyed || stream.readableEnded) this.#end();
  }

  send(data: Uint8Array): boolean {
    if (this.#held !== undefined) {
      this.#held.push(data);
      return false;
    }
    const stream = this.#stream;
    if (this.#ended || !stream.writable) return true;
    // Frames of one turn of the event loop leave in one system call.
    if (!this.#corked) {
      this.#corked = true;
      stream.cork();
      queueMicrotask(() => {
        this.#corked = false;
        stream.uncork();
      });
    }
    return stream.write(data);
  }

  async passFds(socket: Socket, data: Uint8Array, fds: readonly number[], limits: SendFdsLimits): Promise<void> {
    if (this.#held !== undefined) throw new BusyError("descriptors are already on their way");
    const held: Uint8Array[] = [];
    this.#held = held;
    let started = false;
    try {
      // What can be found wrong is found before the first byte leaves: after it there is no way back.
      defaultFdSender();
      for (const fd of fds) checkOpen(fd);
      await raceAbort(this.#flushed(), limits.signal);
      if (this.#ended) throw new ClosedError("the connection is closed");
      started = true;
      await writeWithFds(socket, Buffer.from(data), [], { timeoutMs: limits.timeoutMs });
      for (const fd of fds) await writeWithFds(socket, Buffer.alloc(1), [fd], { timeoutMs: limits.timeoutMs });
    } catch (error) {
      if (started) this.#stream.destroy(asError(error));
      throw error;
    } finally {
      this.#held = undefined;
      for (const later of held) this.send(later);
      if (!this.#ended && !this.#stream.writableNeedDrain) this.#sink?.drained();
    }
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
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

  /** Resolves when all that was written has been given to the kernel, or the stream is gone. */
  #flushed(): Promise<void> {
    const stream = this.#stream;
    if (stream.writableLength === 0) return Promise.resolve();
    return new Promise((resolve) => {
      stream.once("close", resolve);
      // The callback of a write runs when it and all before it are through; an empty one changes nothing for the peer.
      stream.write("", () => {
        stream.removeListener("close", resolve);
        resolve();
      });
    });
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

  #end(): void {
    if (this.#ended || this.#sink === undefined) return;
    this.#ended = true;
    this.#stream.destroy();
    const { explain } = this.#options;
    const sink = this.#sink;
    if (explain === undefined) return sink.ended(this.#error);
    explain().then(
      (error) => sink.ended(error ?? this.#error),
      () => sink.ended(this.#error),
    );
  }
}

function checkOpen(fd: number): void {
  try {
    fstatSync(fd);
  } catch (cause) {
    throw new InvalidArgumentError({ field: "fds", value: fd, expected: "open descriptors", cause });
  }
}

/** A transport over a Node stream: a connected socket, a TLS socket, the standard streams of a child. */
import { fstatSync } from "node:fs";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { ClosedError, InvalidArgumentError } from "../../../core/index.js";
import type { Clock } from "../../../core/index.js";
import { ByteStream, defaultFdSender, writeWithFds } from "../../../host/index.js";
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

/** Wraps a connected stream; from then on the stream belongs to the transport, which destroys it in the end. */
export function streamTransport(stream: Duplex, options: StreamTransportOptions = {}): LibvirtTransport {
  const { description = "stream", clock, explain, fdSocket } = options;
  const transport = new StreamTransport(description, new ByteStream(stream, { clock, explain, gather: true }));
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
  readonly #bytes: ByteStream;

  constructor(description: string, bytes: ByteStream) {
    this.description = description;
    this.#bytes = bytes;
  }

  get blocked(): boolean {
    return this.#bytes.blocked;
  }

  start(sink: LibvirtTransportSink): void {
    this.#bytes.start(sink);
  }

  send(data: Uint8Array): boolean {
    return this.#bytes.send(data);
  }

  async passFds(socket: Socket, data: Uint8Array, fds: readonly number[], limits: SendFdsLimits): Promise<void> {
    const bytes = this.#bytes;
    let started = false;
    await bytes.exclusively(async () => {
      try {
        // What can be found wrong is found before the first byte leaves: after it there is no way back.
        defaultFdSender();
        for (const fd of fds) checkOpen(fd);
        await bytes.flushed(limits.signal);
        if (bytes.ended) throw new ClosedError("the connection is closed");
        started = true;
        await writeWithFds(socket, Buffer.from(data), [], { timeoutMs: limits.timeoutMs });
        for (const fd of fds) await writeWithFds(socket, Buffer.alloc(1), [fd], { timeoutMs: limits.timeoutMs });
      } catch (error) {
        if (started) bytes.destroy(error);
        throw error;
      }
    });
  }

  pause(): void {
    this.#bytes.pause();
  }

  resume(): void {
    this.#bytes.resume();
  }

  close(graceMs: number): Promise<void> {
    return this.#bytes.close(graceMs);
  }

  ref(): void {
    this.#bytes.ref();
  }

  unref(): void {
    this.#bytes.unref();
  }
}

function checkOpen(fd: number): void {
  try {
    fstatSync(fd);
  } catch (cause) {
    throw new InvalidArgumentError({ field: "fds", value: fd, expected: "open descriptors", cause });
  }
}

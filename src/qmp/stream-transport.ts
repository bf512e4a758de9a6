/** A transport over a Node stream: a connected socket, one end of a socketpair, the standard streams of a child. */
import type { Duplex } from "node:stream";
import { abortErrorOf } from "../core/index.js";
import type { Clock } from "../core/index.js";
import { ByteStream } from "../host/index.js";
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

/** Wraps a connected stream; from then on the stream belongs to the transport, which destroys it in the end. */
export function streamTransport(stream: Duplex, options: StreamTransportOptions = {}): QmpTransport {
  const { description = "stream", clock, fdPassing } = options;
  const bytes = new ByteStream(stream, { clock });
  const transport: QmpTransport = {
    description,
    start: (sink: QmpTransportSink) => bytes.start(sink),
    send: (data) => void bytes.send(data),
    close: (graceMs) => bytes.close(graceMs),
    ref: () => bytes.ref(),
    unref: () => bytes.unref(),
  };
  if (fdPassing === undefined) return transport;
  return {
    ...transport,
    sendWithFds: (data, fds, signal) => sendWithFds(bytes, fdPassing, { data: Buffer.from(data), fds, signal }),
  };
}

interface Message {
  readonly data: Buffer;
  readonly fds: readonly number[];
  readonly signal: AbortSignal;
}

function sendWithFds(bytes: ByteStream, passing: FdPassing, { data, fds, signal }: Message): Promise<void> {
  return bytes.exclusively(async (write) => {
    const send = await passing.load();
    await bytes.flushed(signal);
    if (signal.aborted) throw abortErrorOf(signal);
    // Asked for at the last moment: the number of a closed socket may soon be another file's.
    const socketFd = bytes.ended ? undefined : passing.socketFd();
    if (socketFd === undefined) return;
    // The kernel takes a small message whole or not at all; a large one goes after a byte that carries the descriptors.
    const whole = data.length <= MAX_ATOMIC_BYTES;
    await send(socketFd, whole ? data : Buffer.from(" "), fds, signal);
    if (!whole) write(data);
  });
}

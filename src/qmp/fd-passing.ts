/** How descriptors get onto the socket under a stream. */
import { Socket } from "node:net";

/** Sends bytes with descriptors over a socket given by its own descriptor. */
export type FdSender = (socketFd: number, data: Buffer, fds: readonly number[], signal: AbortSignal) => Promise<void>;

/** What a stream needs to pass descriptors. */
export interface FdPassing {
  /** The descriptor of the socket under the stream; undefined once it is closed. */
  readonly socketFd: () => number | undefined;
  /** Loads what sends. */
  readonly load: () => Promise<FdSender>;
}

/** Passing over a socket of Node's. The socket must be a UNIX one; what sends is loaded with the first descriptor. */
export function fdPassingOver(socket: Socket): FdPassing {
  return {
    socketFd: () => {
      const fd = (socket as { _handle?: { fd?: number } | null })._handle?.fd;
      return fd === undefined || fd < 0 ? undefined : fd;
    },
    load: async () => {
      const { sendWithFds } = await import("../host/index.js");
      return (socketFd, data, fds, signal) => sendWithFds(socketFd, data, fds, { signal });
    },
  };
}

/** Passing over a stream that may be a UNIX socket, such as one end of a socketpair; undefined when it is none. */
export function fdPassingOf(stream: unknown): FdPassing | undefined {
  // A socket of TCP has an address at the other end.
  return stream instanceof Socket && stream.remoteAddress === undefined ? fdPassingOver(stream) : undefined;
}

/** Reaches a UNIX socket, however early the caller comes and however long the path is. */
import type { Socket } from "node:net";
import { InvalidArgumentError, abortErrorOf } from "../core/index.js";
import type { Clock } from "../core/index.js";
import { openUnixSocket } from "../host/index.js";
import { QmpConnectError } from "./errors.js";
import { fdPassingOver } from "./fd-passing.js";
import { streamTransport } from "./stream-transport.js";
import type { QmpTransport } from "./transport.js";

/** Not there yet, nobody listens yet, or the backlog of one is full: all may change when QEMU starts or a client leaves. */
const TRANSIENT: ReadonlySet<string> = new Set(["ENOENT", "ECONNREFUSED", "EAGAIN"]);

export interface UnixTransportOptions {
  readonly clock: Clock;
  /** Ends the attempts; its reason is thrown, with the last failure as its cause where it has none. */
  readonly signal: AbortSignal;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

/**
 * Connects to a UNIX socket, trying again while it is not there, refuses, or has its backlog full, until the signal aborts.
 * Paths beyond `MAX_SOCKET_PATH_BYTES` work. On failure nothing stays open.
 * @throws InvalidArgumentError for a path that can't be one
 * @throws QmpConnectError for a failure that waiting does not mend, such as missing permission
 */
export async function connectUnix(path: string, options: UnixTransportOptions): Promise<QmpTransport> {
  if (path === "" || path.includes("\0"))
    throw new InvalidArgumentError({ field: "path", expected: "the path of a socket", value: path });
  const { clock, signal } = options;
  let pauseMs = options.retryMinMs;
  let lastFailure: unknown;
  for (;;) {
    if (signal.aborted) throw abortErrorOf(signal);
    try {
      return unixTransport(path, await openUnixSocket(path, signal), clock);
    } catch (error) {
      if (signal.aborted) throw withCause(abortErrorOf(signal), lastFailure);
      if (!TRANSIENT.has((error as NodeJS.ErrnoException).code ?? "")) throw connectError(path, error);
      lastFailure = error;
    }
    await clock.sleep(pauseMs, { signal }).catch((reason: unknown) => {
      throw withCause(reason as Error, lastFailure);
    });
    pauseMs = Math.min(pauseMs * 2, options.retryMaxMs);
  }
}

function unixTransport(path: string, socket: Socket, clock: Clock): QmpTransport {
  return streamTransport(socket, { description: `unix:${path}`, clock, fdPassing: fdPassingOver(socket) });
}

function connectError(path: string, cause: unknown): QmpConnectError {
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown error";
  const message = `the monitor socket can't be reached (${code})`;
  return new QmpConnectError(message, { phase: "socket", cause, detail: path, retryable: false });
}

function withCause(error: Error, cause: unknown): Error {
  if (error.cause === undefined && cause !== undefined)
    Object.defineProperty(error, "cause", { value: cause, configurable: true, writable: true });
  return error;
}

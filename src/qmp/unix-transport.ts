/** Reaches a UNIX socket, however early the caller comes and however long the path is. */
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { InvalidArgumentError, abortErrorOf } from "../core/index.js";
import type { Clock } from "../core/index.js";
import { QmpConnectError } from "./errors.js";
import { fdPassingOver } from "./fd-passing.js";
import { streamTransport } from "./stream-transport.js";
import type { QmpTransport } from "./transport.js";

/** Longest path of a UNIX socket on Linux. QEMU refuses longer ones; Node cuts them off without a word. */
export const MAX_SOCKET_PATH_BYTES = 107;

/** Not there yet, nobody listens yet, or the backlog of one is full: all may change when QEMU starts or a client leaves. */
const TRANSIENT: ReadonlySet<string> = new Set(["ENOENT", "ECONNREFUSED", "EAGAIN"]);

/** Linux's O_PATH, which Node does not name: a handle on the file without opening what it stands for. */
const O_PATH = 0o10000000;

export interface UnixTransportOptions {
  readonly clock: Clock;
  /** Ends the attempts; its reason is thrown, with the last failure as its cause where it has none. */
  readonly signal: AbortSignal;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

/**
 * Connects to a UNIX socket, trying again while it is not there, refuses, or has its backlog full, until the signal aborts.
 * Paths beyond {@link MAX_SOCKET_PATH_BYTES} work. On failure nothing stays open.
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
      return unixTransport(path, await connectOnce(path, signal), clock);
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

async function connectOnce(path: string, signal: AbortSignal): Promise<Socket> {
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return openSocket(path, signal);
  const handle: FileHandle = await open(path, O_PATH);
  try {
    return await openSocket(`/proc/self/fd/${handle.fd}`, signal);
  } finally {
    await handle.close();
  }
}

function openSocket(path: string, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    const settle = (outcome: () => void): void => {
      signal.removeEventListener("abort", onAbort);
      socket.removeListener("connect", onConnect);
      socket.removeListener("error", onError);
      outcome();
    };
    const onAbort = (): void => {
      socket.on("error", () => undefined);
      socket.destroy();
      settle(() => reject(abortErrorOf(signal)));
    };
    const onConnect = (): void => settle(() => resolve(socket));
    const onError = (error: Error): void => settle(() => reject(error));
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("connect", onConnect);
    socket.once("error", onError);
  });
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

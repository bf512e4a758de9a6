/** Open descriptors handed to another process over a UNIX socket. */
import { closeSync } from "node:fs";
import type { Socket } from "node:net";
import { Deadline, InvalidArgumentError } from "../core/index.js";
import type { Clock } from "../core/index.js";
import { FdPassingError, errnoName } from "./errors.js";
import { defaultFdSender } from "./fd-sender.js";
import type { FdSender } from "./fd-sender.js";
import { defaultHostTimeouts } from "./timeouts.js";

/** How long, and by whom, descriptors are sent. */
export interface SendFdsOptions {
  readonly signal?: AbortSignal | undefined;
  /** While the peer does not read. Default: 10,000. */
  readonly timeoutMs?: number | undefined;
  readonly clock?: Clock | undefined;
  readonly sender?: FdSender | undefined;
}

/** What Linux takes in one message. */
const MAX_FDS = 253;
/** How long one wait for a full socket goes on before the abort signal is looked at again. */
const WAIT_SLICE_MS = 100;

/**
 * Sends data over a connected UNIX socket, and with its first byte the descriptors; the peer gets copies, and ours stay open.
 * Nothing else may write to the socket meanwhile (see {@link writeWithFds} for a `net.Socket`).
 * @param data at least one byte.
 * @throws InvalidArgumentError; NativeModuleMissingError without `koffi`; FdPassingError; DeadlineExceededError and AbortedError
 * while the socket is full, when a part of the data may have gone.
 */
export async function sendWithFds(
  socketFd: number,
  data: Buffer,
  fds: readonly number[],
  options: SendFdsOptions = {},
): Promise<void> {
  checkArguments(socketFd, data, fds);
  await withSendDeadline(options, (deadline) => send(socketFd, data, fds, options, deadline));
}

/**
 * {@link sendWithFds} for a socket of Node's, which goes on being written to: waits until nothing else is on its way, and
 * keeps back what is written while the message goes out.
 * @throws also FdPassingError when the socket is closed.
 */
export async function writeWithFds(
  socket: Socket,
  data: Buffer,
  fds: readonly number[],
  options: SendFdsOptions = {},
): Promise<void> {
  await withSendDeadline(options, async (deadline) => {
    while (socket.writableLength > 0) await deadline.race(flushed(socket));
    const fd = socketFd(socket);
    checkArguments(fd, data, fds);
    socket.cork();
    try {
      await send(fd, data, fds, options, deadline);
    } finally {
      socket.uncork();
    }
  });
}

/** The descriptor of a connected socket of Node's. @throws FdPassingError (`EBADF`) when it has none. */
export function socketFd(socket: Socket): number {
  const fd = (socket as { _handle?: { readonly fd?: unknown } | null })._handle?.fd;
  if (typeof fd !== "number" || fd < 0) throw new FdPassingError("the socket has no descriptor", "EBADF");
  return fd;
}

function checkArguments(socket: number, data: Buffer, fds: readonly number[]): void {
  const isFd = (fd: number): boolean => Number.isInteger(fd) && fd >= 0 && fd <= 0x7fffffff;
  if (!isFd(socket)) throw new InvalidArgumentError({ field: "socketFd", value: socket, expected: "a descriptor" });
  if (data.length === 0) throw new InvalidArgumentError({ field: "data", value: "", expected: "at least one byte" });
  if (fds.length > MAX_FDS)
    throw new InvalidArgumentError({ field: "fds", value: fds, expected: `at most ${MAX_FDS} descriptors` });
  const bad = fds.findIndex((fd) => !isFd(fd));
  if (bad >= 0) throw new InvalidArgumentError({ field: `fds[${bad}]`, value: fds[bad], expected: "a descriptor" });
}

async function withSendDeadline(options: SendFdsOptions, work: (deadline: Deadline) => Promise<void>): Promise<void> {
  const { timeoutMs = defaultHostTimeouts.sendFdsMs, signal, clock } = options;
  const deadline = Deadline.after(timeoutMs, { operation: "passing descriptors", signal, clock });
  try {
    deadline.throwIfExpired();
    await work(deadline);
  } finally {
    deadline.dispose();
  }
}

async function send(
  socket: number,
  data: Buffer,
  fds: readonly number[],
  options: SendFdsOptions,
  deadline: Deadline,
): Promise<void> {
  const sender = options.sender ?? defaultFdSender();
  const sent = trySend(sender, socket, data, fds);
  if (sent === data.length) return;
  // The number could come to mean another file while we wait; a duplicate can't.
  const own = sender.duplicate(socket);
  try {
    await sendRest(sender, own, data.subarray(sent), sent === 0 ? fds : [], deadline);
  } finally {
    closeSync(own);
  }
}

async function sendRest(
  sender: FdSender,
  socket: number,
  data: Buffer,
  fds: readonly number[],
  deadline: Deadline,
): Promise<void> {
  let rest = data;
  let attached = fds;
  while (rest.length > 0) {
    deadline.throwIfExpired();
    await sender.writable(socket, Math.min(WAIT_SLICE_MS, deadline.remainingMs));
    const sent = trySend(sender, socket, rest, attached);
    if (sent > 0) attached = [];
    rest = rest.subarray(sent);
  }
}

/** How many bytes went; 0 when the socket is full. */
function trySend(sender: FdSender, socket: number, data: Buffer, fds: readonly number[]): number {
  try {
    return sender.send(socket, data, fds);
  } catch (error) {
    const errno = errnoName(error) ?? "UNKNOWN";
    if (errno === "EAGAIN" || errno === "EINTR") return 0;
    throw new FdPassingError("descriptors could not be passed", errno, { cause: error });
  }
}

function flushed(socket: Socket): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    socket.write("", (error) => {
      if (error === undefined || error === null) resolve();
      else
        reject(
          new FdPassingError("the socket failed before descriptors could be passed", errnoName(error) ?? "UNKNOWN", {
            cause: error,
          }),
        );
    });
  });
}

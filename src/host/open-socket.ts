/** Connected sockets, however long the path of a UNIX socket is. */
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { connect } from "node:net";
import type { NetConnectOpts, Socket } from "node:net";
import { abortErrorOf, onAbort } from "../core/index.js";

/** Longest path of a UNIX socket on Linux. QEMU refuses longer ones; Node cuts them off without a word. */
export const MAX_SOCKET_PATH_BYTES = 107;

/** Linux's O_PATH, which Node does not name: a handle on the file without opening what it stands for. */
const O_PATH = 0o10000000;

/** @throws the system's error, or the signal's */
export async function openUnixSocket(path: string, signal: AbortSignal): Promise<Socket> {
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return openSocket({ path }, signal);
  const handle: FileHandle = await open(path, O_PATH);
  try {
    return await openSocket({ path: `/proc/self/fd/${handle.fd}` }, signal);
  } finally {
    await handle.close();
  }
}

/** @throws the system's error, or the signal's */
export function openSocket(options: NetConnectOpts, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(abortErrorOf(signal));
    const socket = connect(options);
    const settle = (outcome: () => void): void => {
      forget();
      socket.removeListener("connect", onConnect);
      socket.removeListener("error", onError);
      outcome();
    };
    const forget = onAbort(signal, () => {
      settle(() => reject(abortErrorOf(signal)));
      socket.on("error", () => undefined);
      socket.destroy();
    });
    const onConnect = (): void => settle(() => resolve(socket));
    const onError = (error: Error): void => settle(() => reject(error));
    socket.once("connect", onConnect);
    socket.once("error", onError);
  });
}

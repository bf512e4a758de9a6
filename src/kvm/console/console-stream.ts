/** Both directions of a guest's serial console. */
import { connect } from "node:net";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { open } from "node:fs/promises";
import { ConflictError, abortErrorOf, onAbort, withDeadline } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { ConsoleUnavailableError } from "../../driver/index.js";
import type { GuestCore } from "../guest-core.js";
import { GUEST_FILES, PARTS } from "../plan/command-line.js";

/** How much is kept for a reader that does not read; then the oldest makes way. */
const BACKLOG_BYTES = 1_048_576;

/**
 * A guest's console as a stream. It never holds the guest up: a UART has no flow control, and QEMU would stop the guest for a reader that does not
 * read. What a slow reader has missed is counted in `droppedBytes`.
 */
export class ConsoleStream extends Duplex {
  readonly #socket: Socket;
  #backlog: Buffer[] = [];
  #backlogBytes = 0;
  #flowing = false;
  #ended = false;
  /** Bytes that were dropped because nobody read them in time. */
  droppedBytes = 0;

  constructor(socket: Socket) {
    super({ allowHalfOpen: false, emitClose: true });
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.once("close", () => this.#end());
    socket.on("error", () => socket.destroy());
  }

  override _read(): void {
    this.#flowing = true;
    while (this.#flowing && this.#backlog.length > 0) {
      const chunk = this.#backlog.shift() as Buffer;
      this.#backlogBytes -= chunk.length;
      this.#flowing = this.push(chunk);
    }
    if (this.#ended && this.#backlog.length === 0) this.push(null);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    if (this.#socket.destroyed) callback();
    else this.#socket.write(chunk, (error) => callback(error));
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#backlog = [];
    this.#socket.destroy();
    callback(error);
  }

  #take(chunk: Buffer): void {
    if (this.#flowing) {
      this.#flowing = this.push(chunk);
      return;
    }
    this.#backlog.push(chunk);
    this.#backlogBytes += chunk.length;
    while (this.#backlogBytes > BACKLOG_BYTES) {
      const oldest = this.#backlog.shift() as Buffer;
      this.#backlogBytes -= oldest.length;
      this.droppedBytes += oldest.length;
    }
  }

  #end(): void {
    this.#ended = true;
    if (this.#backlog.length === 0) this.push(null);
  }
}

/**
 * Opens a guest's console. It ends with the guest.
 * @throws InvalidStateError when the guest is not in memory; ConflictError when somebody has its console open; ConsoleUnavailableError
 */
export async function openConsole(core: GuestCore, { signal, deadline }: CommonOptions): Promise<Duplex> {
  const session = core.requireSession("openConsole");
  const { consoleMs } = core.host.timeouts;
  if (core.consoleOpen) throw taken(core);
  core.consoleOpen = true;
  try {
    const limits = { operation: "opening the console", clock: core.host.clock, signal };
    const socket = await withDeadline(Math.min(deadline ?? consoleMs, consoleMs), limits, async (limit) => {
      const chardevs = await session.execute("query-chardev", {}, { signal: limit.signal });
      const chardev = chardevs.find(({ label }) => label === PARTS.consoleChardev);
      // QEMU serves one; a second would connect and hear nothing.
      if (chardev?.filename.startsWith("disconnected:") !== true) throw taken(core);
      return connectSocket(core, limit.signal);
    });
    const stream = new ConsoleStream(socket);
    stream.once("close", () => (core.consoleOpen = false));
    return stream;
  } catch (error) {
    core.consoleOpen = false;
    throw error;
  }
}

/** By way of the directory, so that its path may be longer than socket addresses can be. */
async function connectSocket(core: GuestCore, signal: AbortSignal): Promise<Socket> {
  const directory = await open(core.files.directory, "r");
  try {
    return await new Promise<Socket>((resolve, reject) => {
      const socket = connect({ path: `/proc/self/fd/${directory.fd}/${GUEST_FILES.console}` });
      const forget = onAbort(signal, () => {
        socket.destroy();
        reject(abortErrorOf(signal, "opening the console"));
      });
      socket.once("connect", () => {
        forget();
        resolve(socket);
      });
      socket.once("error", (error) => {
        forget();
        reject(
          new ConsoleUnavailableError("the guest's console can't be reached", {
            instance: core.instance,
            cause: error,
          }),
        );
      });
    });
  } finally {
    await directory.close();
  }
}

function taken(core: GuestCore): ConflictError {
  return new ConflictError("the guest's console is open already", { instance: core.instance });
}

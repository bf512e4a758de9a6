/** Files of the guest, read and written through its agent in pieces. */
import { OverflowError } from "../core/index.js";
import type { Deadline } from "../core/index.js";
import type { QmpWaitOptions } from "./client-options.js";
import { QmpProtocolError } from "./errors.js";
import type { Int64 } from "./qmp-value.js";
import type * as Qga from "./generated/qga.gen.js";

/** What is needed of the client. */
export interface GuestFileCommands {
  open(path: string, mode: string, options: QmpWaitOptions): Promise<Int64>;
  read(handle: Int64, count: number, options: QmpWaitOptions): Promise<Qga.GuestFileRead>;
  write(handle: Int64, base64: string, options: QmpWaitOptions): Promise<Qga.GuestFileWrite>;
  flush(handle: Int64, options: QmpWaitOptions): Promise<unknown>;
  /** Tried even when time is over, so that the agent does not keep the file open for ever. */
  close(handle: Int64): Promise<unknown>;
}

/** Of a file at once: base64 makes it 4/3 of that on the wire, and the agent answers nothing else meanwhile. */
export const DEFAULT_FILE_CHUNK_BYTES = 384 * 1024;

/**
 * Reads a whole file.
 * @throws OverflowError when it is longer than `maxBytes`
 */
export async function readGuestFile(
  commands: GuestFileCommands,
  path: string,
  maxBytes: number,
  deadline: Deadline,
  chunkBytes = DEFAULT_FILE_CHUNK_BYTES,
): Promise<Buffer> {
  return withFile(commands, path, "r", deadline, async (handle, options) => {
    const pieces: Buffer[] = [];
    let total = 0;
    for (;;) {
      const piece = await commands.read(handle, chunkBytes, options());
      const bytes = Buffer.from(piece["buf-b64"], "base64");
      total += bytes.length;
      if (total > maxBytes) throw new OverflowError(`the file is longer than ${maxBytes} bytes`, { detail: path });
      pieces.push(bytes);
      if (piece.eof) return Buffer.concat(pieces, total);
      if (bytes.length === 0)
        throw new QmpProtocolError("the guest agent reads nothing and sees no end", { fault: "bad-reply" });
    }
  });
}

/** Writes a whole file. What was written stays there when this fails half-way. */
export async function writeGuestFile(
  commands: GuestFileCommands,
  path: string,
  mode: "w" | "a",
  data: Buffer,
  deadline: Deadline,
  chunkBytes = DEFAULT_FILE_CHUNK_BYTES,
): Promise<void> {
  await withFile(commands, path, mode, deadline, async (handle, options) => {
    for (let at = 0; at < data.length;) {
      const { count } = await commands.write(
        handle,
        data.toString("base64", at, Math.min(at + chunkBytes, data.length)),
        options(),
      );
      const written = Number(count);
      if (!(written > 0 && written <= chunkBytes))
        throw new QmpProtocolError("the guest agent wrote nothing", { fault: "bad-reply" });
      at += written;
    }
    await commands.flush(handle, options());
  });
}

async function withFile<T>(
  commands: GuestFileCommands,
  path: string,
  mode: string,
  deadline: Deadline,
  work: (handle: Int64, options: () => QmpWaitOptions) => Promise<T>,
): Promise<T> {
  const options = (): QmpWaitOptions => {
    deadline.throwIfExpired();
    return { signal: deadline.signal, deadlineMs: deadline.remainingMs + 1 };
  };
  const handle = await commands.open(path, mode, options());
  let result: T;
  try {
    result = await work(handle, options);
  } catch (error) {
    await commands.close(handle).catch(() => undefined);
    throw error;
  }
  await commands.close(handle);
  return result;
}

/** Takes the bytes of a stream, with bounded waits, and lets go of it when that fails. */
import type { ReadableStream } from "node:stream/web";
import { InvalidArgumentError, isHyperviseError, throwIfAborted, withDeadline } from "../../core/index.js";
import { ImageTransferError } from "../errors.js";
import type { ByteStream, ReceiveOptions } from "./image-source.js";
import type { ReceivedFile } from "./received-file.js";
import type { TransferOptions } from "./image-store.js";

export interface StreamOptions extends ReceiveOptions, TransferOptions {
  readonly stallMs: number;
  /** Where it is known. */
  readonly bytesTotal?: number | undefined;
}

/**
 * Writes all that comes to the file. Rejects with `ImageTransferError` when the stream fails, `DeadlineExceededError` when it
 * brings nothing for `stallMs`, and what the file throws; the stream is cancelled then.
 */
export async function receiveStream(stream: ByteStream, file: ReceivedFile, options: StreamOptions): Promise<void> {
  const { clock, signal, stallMs, bytesTotal, onProgress } = options;
  throwIfAborted(signal);
  const chunks = chunksOf(stream);
  let ended = false;
  try {
    for (;;) {
      const chunk = await withDeadline(
        stallMs,
        { operation: "waiting for the image's bytes", clock, signal },
        chunks.next,
      );
      if (chunk === undefined) break;
      if (!(chunk instanceof Uint8Array))
        throw new InvalidArgumentError({ field: "stream", value: typeof chunk, expected: "a stream of bytes" });
      await file.write(chunk);
      onProgress?.({ bytesDone: file.bytes, ...(bytesTotal === undefined ? {} : { bytesTotal }) });
    }
    ended = true;
  } finally {
    if (!ended) chunks.cancel();
  }
}

interface Chunks {
  /** Undefined at the end. */
  next(this: void): Promise<unknown>;
  /** Does not wait: a stream that hangs may take as long as it likes over it. */
  cancel(this: void): void;
}

function chunksOf(stream: ByteStream): Chunks {
  if (isWebStream(stream)) {
    const reader = stream.getReader();
    return {
      next: () => fromStream(async () => ((await reader.read()) as { value?: unknown }).value),
      cancel: () => void reader.cancel().catch(() => undefined),
    };
  }
  if (typeof (stream as Partial<AsyncIterable<unknown>> | undefined)?.[Symbol.asyncIterator] !== "function")
    throw new InvalidArgumentError({ field: "stream", value: typeof stream, expected: "a stream of bytes" });
  const iterator = stream[Symbol.asyncIterator]() as AsyncIterator<unknown, unknown>;
  return {
    next: () =>
      fromStream(async () => {
        const next: IteratorResult<unknown, unknown> = await iterator.next();
        return next.done === true ? undefined : next.value;
      }),
    cancel: () => {
      // The iterator of a Node stream does not end before the chunk that is being waited for has come.
      if ("destroy" in stream && typeof stream.destroy === "function") (stream as { destroy(): void }).destroy();
      const returned = Promise.resolve().then(() => iterator.return?.());
      returned.catch(() => undefined);
    },
  };
}

function isWebStream(stream: ByteStream): stream is ReadableStream<Uint8Array> {
  return typeof (stream as Partial<ReadableStream> | undefined)?.getReader === "function";
}

async function fromStream(read: () => Promise<unknown>): Promise<unknown> {
  try {
    return await read();
  } catch (error) {
    if (isHyperviseError(error)) throw error;
    throw new ImageTransferError("the stream of the image's bytes broke off", { cause: error });
  }
}

/** Copies a file so that holes stay holes, the errno of a failure is known, and an abort ends it at once. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { copyFile as cloneFile, open, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { throwIfAborted } from "../core/index.js";
import { ImageUnacceptableError } from "./errors.js";
import type { TransferOptions } from "./images/image-store.js";
import { writeSparse } from "./write-sparse.js";

export type ChecksumAlgorithm = "sha256" | "sha512";

export interface CopyOptions extends TransferOptions {
  /** Compute this hash of the bytes. */
  readonly checksum?: ChecksumAlgorithm;
  /** Refuse sources of more bytes than this. */
  readonly maxBytes?: number;
}

export interface CopyResult {
  readonly bytes: number;
  /** As in an image record: `sha256:<hex>`. */
  readonly checksum?: string;
}

const CHUNK_BYTES = 1024 * 1024;

/**
 * Copies a regular file to `to`, which must not exist; it is on stable storage and of mode 0600 when the copy resolves.
 * Throws what the system throws, `AbortedError`, or `ImageUnacceptableError` when the source is no regular file or larger
 * than allowed; nothing is left of `to` then.
 */
export async function copyFile(from: string, to: string, options: CopyOptions = {}): Promise<CopyResult> {
  throwIfAborted(options.signal);
  const source = await open(from, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = await source.stat();
    if (!stats.isFile()) throw new ImageUnacceptableError("the source is not a regular file", { detail: from });
    checkSize(stats.size, options);
    const target = await open(to, "wx", 0o600);
    try {
      return await copyBytes(source, target, stats.size, options);
    } catch (error) {
      await rm(to, { force: true });
      throw error;
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

/** As {@link copyFile}, by sharing the blocks where the file system can do that. */
export async function cloneOrCopyFile(from: string, to: string, options: TransferOptions = {}): Promise<void> {
  throwIfAborted(options.signal);
  try {
    await cloneFile(from, to, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL);
    return;
  } catch {
    // Most file systems can't share blocks; what else was wrong with it the copy will say.
  }
  await copyFile(from, to, options);
}

async function copyBytes(
  source: FileHandle,
  target: FileHandle,
  expected: number,
  options: CopyOptions,
): Promise<CopyResult> {
  const { checksum } = options;
  const hash = checksum === undefined ? undefined : createHash(checksum);
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  let at = 0;
  for (;;) {
    throwIfAborted(options.signal);
    const { bytesRead } = await source.read(buffer, 0, CHUNK_BYTES, at);
    if (bytesRead === 0) break;
    const chunk = buffer.subarray(0, bytesRead);
    checkSize(at + bytesRead, options);
    hash?.update(chunk);
    await writeSparse(target, chunk, at);
    at += bytesRead;
    options.onProgress?.({ bytesDone: at, bytesTotal: Math.max(at, expected) });
  }
  await target.truncate(at);
  await target.sync();
  return { bytes: at, ...(hash === undefined ? {} : { checksum: `${checksum}:${hash.digest("hex")}` }) };
}

function checkSize(bytes: number, options: CopyOptions): void {
  if (options.maxBytes !== undefined && bytes > options.maxBytes) {
    throw new ImageUnacceptableError(`the image is larger than the ${options.maxBytes} bytes that are allowed`);
  }
}

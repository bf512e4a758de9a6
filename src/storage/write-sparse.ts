/** Writes bytes so that runs of zeros stay holes. */
import type { FileHandle } from "node:fs/promises";

const HOLE_BYTES = 65_536;
const ZEROS = Buffer.alloc(HOLE_BYTES);

/** Writes the bytes at the offset of a file in which nothing has been written there yet; zeros by 64 KiB are left out. */
export async function writeSparse(target: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let start = 0; start < bytes.length;) {
    const zero = isZero(bytes, start);
    let end = start;
    while (end < bytes.length && isZero(bytes, end) === zero) end = Math.min(end + HOLE_BYTES, bytes.length);
    if (!zero) await writeAll(target, bytes.subarray(start, end), at + start);
    start = end;
  }
}

async function writeAll(target: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += (await target.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
  }
}

function isZero(bytes: Buffer, start: number): boolean {
  const length = Math.min(HOLE_BYTES, bytes.length - start);
  return bytes.compare(ZEROS, 0, length, start, start + length) === 0;
}

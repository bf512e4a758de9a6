/** A log that others append to on and on, held short by us: the newest part in its own file, the one before beside it. */
import { constants, watch } from "node:fs";
import type { FSWatcher } from "node:fs";
import { lstat, open, rename, rm, writeFile } from "node:fs/promises";
import { HostIoError, errnoName } from "./errors.js";

export interface KeptLog {
  /** What is appended to. */
  readonly path: string;
  /** Where what was written before may be, the newest first. The first is ours to replace, the others to remove. */
  readonly older: readonly [string, ...string[]];
}

export interface LogTail {
  /** The last bytes, as they came. */
  readonly bytes: Buffer;
  /** True when older ones were left out. */
  readonly truncated: boolean;
}

export interface WatchLogOptions {
  /** What is kept, in bytes. */
  readonly maxBytes: number;
  /** What is watched. Default: the file itself; its directory, for a log whose file others replace. */
  readonly watched?: string;
  /** Called when shortening fails; the log is then as long as it is. */
  readonly onFailure: (error: unknown) => void;
}

/** The last bytes of a log; empty where there is none. @throws HostIoError */
export async function readKeptLog({ path, older }: KeptLog, maxBytes: number): Promise<LogTail> {
  const current = await tailOf(path, maxBytes);
  const parts = [current.bytes];
  let { truncated } = current;
  let left = maxBytes - current.bytes.length;
  for (const file of older) {
    if (truncated) break;
    if (left === 0) truncated = (await sizeOf(file)) > 0;
    else {
      const earlier = await tailOf(file, left);
      parts.unshift(earlier.bytes);
      left -= earlier.bytes.length;
      ({ truncated } = earlier);
    }
  }
  return { bytes: Buffer.concat(parts), truncated };
}

/**
 * Holds a log short: beyond half of `maxBytes` its content becomes the older half, in place of what was before. Whoever appends goes on with
 * the same file; what is written in the moment between may be lost. Older parts that others have put beside it go where all are longer than `maxBytes`. @throws HostIoError
 */
export async function shortenKeptLog({ path, older }: KeptLog, maxBytes: number): Promise<void> {
  const half = Math.floor(maxBytes / 2);
  const size = await sizeOf(path);
  const [first, ...rest] = older;
  try {
    if (size <= half) return await dropBeyond(older, maxBytes - size);
    const { bytes } = await tailOf(path, half);
    await rm(`${path}.tmp`, { force: true });
    await writeFile(`${path}.tmp`, bytes, { mode: 0o600, flag: "wx" });
    await truncateFile(path);
    await rename(`${path}.tmp`, first);
    for (const file of rest) await rm(file, { force: true });
  } catch (error) {
    throw new HostIoError({ operation: "shortening a log", path, cause: error });
  }
}

/** The parts have no gaps between them. */
async function dropBeyond(older: readonly string[], room: number): Promise<void> {
  let left = room;
  for (const [age, file] of older.entries()) {
    const size = await sizeOf(file);
    if (size === 0) return;
    left -= size;
    if (left >= 0) continue;
    for (const excess of older.slice(age)) await rm(excess, { force: true });
    return;
  }
}

/** Holds a log short while it is written, until the returned function is called. One look at a time, and none while nothing is written. */
export function watchKeptLog(log: KeptLog, { maxBytes, watched = log.path, onFailure }: WatchLogOptions): () => void {
  let busy = false;
  let again = false;
  const look = async (): Promise<void> => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    do {
      again = false;
      await shortenKeptLog(log, maxBytes).catch(onFailure);
    } while (again);
    busy = false;
  };
  const watcher = openWatcher(watched, () => void look());
  void look();
  return () => watcher?.close();
}

/** Without a watch a log is still shortened whenever it is looked after. */
function openWatcher(path: string, onChange: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(path, { persistent: false }, onChange);
    watcher.on("error", () => watcher.close());
    return watcher;
  } catch {
    return undefined;
  }
}

/** Whoever writes may be another user and put what it likes in the place of the files: no link is followed. */
const AS_IT_IS = constants.O_NOFOLLOW | constants.O_NONBLOCK;

async function truncateFile(path: string): Promise<void> {
  const file = await open(path, constants.O_WRONLY | AS_IT_IS);
  try {
    await file.truncate(0);
  } finally {
    await file.close();
  }
}

async function sizeOf(path: string): Promise<number> {
  return lstat(path).then(
    (stats) => (stats.isFile() ? stats.size : 0),
    () => 0,
  );
}

async function tailOf(path: string, maxBytes: number): Promise<LogTail> {
  try {
    const file = await open(path, constants.O_RDONLY | AS_IT_IS);
    try {
      const { size } = await file.stat();
      const length = Math.min(size, maxBytes);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
      return { bytes: buffer.subarray(0, bytesRead), truncated: size > length };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (errnoName(error) === "ENOENT") return { bytes: Buffer.alloc(0), truncated: false };
    throw new HostIoError({ operation: "reading a log", path, cause: error });
  }
}

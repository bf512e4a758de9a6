/** Turns what file operations and commands fail with into this room's errors, by errno and never by text. */
import { randomUUID } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { isHyperviseError } from "../core/index.js";
import type { ErrorContext } from "../core/index.js";
import { HostIoError } from "../host/index.js";
import { DiskFullError, StorageError } from "./errors.js";

const FULL = new Set(["ENOSPC", "EDQUOT"]);
const PROBE_BYTES = 1024 * 1024;

/** `ENOENT` and the like; undefined for what is no failure of the operating system. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof HostIoError) return error.errno;
  if (!(error instanceof Error)) return undefined;
  const { code, errno } = error as NodeJS.ErrnoException;
  return typeof code === "string" && typeof errno === "number" ? code : undefined;
}

/** For `catch`: these failures of the operating system are nothing, others are thrown on. */
export function throwUnless(...errnos: readonly string[]): (error: unknown) => undefined {
  return (error) => {
    if (errnos.includes(errnoOf(error) ?? "")) return undefined;
    throw error;
  };
}

/**
 * The error to throw for a failure of storing something in `directory`. Errors of this package stay as they are, apart
 * from a failed command: of that nobody tells the errno, so whether the disk is full is found out by writing to it. Call
 * it before what was begun is removed, and with what is to be written where the command removes that itself.
 */
export async function storageFailure(
  error: unknown,
  doing: string,
  directory: string,
  context: ErrorContext = {},
  neededBytes = PROBE_BYTES,
): Promise<Error> {
  const errno = errnoOf(error);
  if (errno === undefined && isHyperviseError(error) && error.code !== "COMMAND_FAILED")
    return error.withContext(context);
  const full = errno === undefined ? !(await hasRoomFor(directory, neededBytes)) : FULL.has(errno);
  if (full) {
    return new DiskFullError(`${doing}: no space left on the host's storage`, {
      ...context,
      cause: error,
      detail: directory,
      remedy: "free space on the file system, or raise the quota, and try again",
    });
  }
  return new StorageError(`${doing} failed`, { ...context, cause: error, detail: directory, errno });
}

/** False when the file system or the quota refuses so many more bytes, which is found out by writing them. */
export async function hasRoomFor(directory: string, bytes: number): Promise<boolean> {
  const path = join(directory, `.space-${randomUUID()}`);
  try {
    const file = await open(path, "wx", 0o600);
    try {
      for (let left = bytes; left > 0;) {
        left -= (await file.write(Buffer.alloc(Math.min(left, 65_536), 1))).bytesWritten;
      }
      await file.sync();
    } finally {
      await file.close();
    }
    return true;
  } catch (error) {
    return !FULL.has(errnoOf(error) ?? "");
  } finally {
    await rm(path, { force: true }).catch(() => undefined);
  }
}

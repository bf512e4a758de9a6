/** Files that are either old or new, never half-written, whenever the machine stops. */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { mkdir, open, rename, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { OverflowError, StateCorruptError } from "../core/index.js";
import { HostIoError, errnoName } from "./errors.js";

/** How a file is written. */
export interface WriteFileOptions {
  /** Whatever the umask says. Default: 0o600. */
  readonly mode?: number | undefined;
  /** The temporary file in the same directory; must not be there. Default: `.hypervise-<random>.tmp`. */
  readonly temporaryName?: string | undefined;
}

/**
 * Replaces a file in one step. When this resolves the new content is on the disk; when it rejects, or the process dies, the
 * old one stands. A temporary file can be left only by a process that died.
 * @throws HostIoError with `errno` (`ENOSPC`, `EROFS`, `ENOENT` when the directory is missing, …).
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  options: WriteFileOptions = {},
): Promise<void> {
  const { mode = 0o600, temporaryName = `.hypervise-${randomBytes(8).toString("hex")}.tmp` } = options;
  const directory = dirname(path);
  const temporary = join(directory, temporaryName);
  let created = false;
  try {
    const file = await open(
      temporary,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      mode,
    );
    created = true;
    await closing(file, async () => {
      await file.chmod(mode);
      await file.writeFile(data);
      await file.sync();
    });
    await rename(temporary, path);
    created = false;
    await syncDirectory(directory);
  } catch (error) {
    if (created) await unlink(temporary).catch(() => undefined);
    throw new HostIoError({ operation: "writing a file", path, cause: error });
  }
}

/**
 * Reads JSON; undefined when the file is absent.
 * @param maxBytes default: 16 MiB.
 * @throws StateCorruptError when it is no JSON; OverflowError when it is longer than `maxBytes`; HostIoError.
 */
export async function readJsonFile(path: string, maxBytes = 16 * 1024 * 1024): Promise<unknown> {
  const text = await readText(path, maxBytes);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new StateCorruptError("a state file can't be read", {
      detail: `${path} is no JSON`,
      remedy: "Restore the file, or remove it with what it describes.",
      cause: error,
    });
  }
}

/** Removes a file, durably; absent is fine. @throws HostIoError. */
export async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
    await syncDirectory(dirname(path));
  } catch (error) {
    if (errnoName(error) !== "ENOENT") throw new HostIoError({ operation: "removing a file", path, cause: error });
  }
}

/**
 * Makes a directory and its parents, durably; one that is there stays as it is.
 * @param mode of the directories that are made. Default: 0o700.
 * @throws HostIoError.
 */
export async function ensureDirectory(path: string, mode = 0o700): Promise<void> {
  try {
    const first = await mkdir(path, { recursive: true, mode });
    for (let made = path; first !== undefined && made.length >= first.length; made = dirname(made))
      await syncDirectory(dirname(made));
  } catch (error) {
    throw new HostIoError({ operation: "making a directory", path, cause: error });
  }
}

async function readText(path: string, maxBytes: number): Promise<string | undefined> {
  try {
    const file = await open(path, constants.O_RDONLY);
    return await closing(file, async () => {
      const { size } = await file.stat();
      if (size > maxBytes) throw new OverflowError(`a file is longer than ${maxBytes} bytes`, { detail: path });
      return file.readFile("utf8");
    });
  } catch (error) {
    if (errnoName(error) === "ENOENT") return undefined;
    throw error instanceof OverflowError ? error : new HostIoError({ operation: "reading a file", path, cause: error });
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  await closing(directory, () => directory.sync());
}

/** Closes the file whatever happens; the work's own error comes first. */
async function closing<T>(file: FileHandle, work: () => Promise<T>): Promise<T> {
  let result: T;
  try {
    result = await work();
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
  await file.close();
  return result;
}

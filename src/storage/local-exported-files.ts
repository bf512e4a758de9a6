/** Exported files on this host's file systems. */
import { link, lstat, mkdir, open, readdir, rename, rm, unlink } from "node:fs/promises";
import { constants } from "node:fs";
import { dirname } from "node:path";
import { check, ConflictError, OverflowError } from "../core/index.js";
import { writeFileAtomic } from "../host/index.js";
import type { ExportedFiles } from "./exported-files.js";
import { errnoOf, storageFailure, throwUnless } from "./storage-failure.js";

const MAX_TEXT_BYTES = 1_048_576;
const absolute = check.absolutePath();

/** Symbolic links are not followed where a path ends. New directories have mode 0700, new texts 0600. */
export class LocalExportedFiles implements ExportedFiles {
  identify(path: string): Promise<string | undefined> {
    return guarded("looking for a file", path, () => identityAt(path));
  }

  makeDirectory(path: string): Promise<void> {
    return guarded("making a directory", path, async () => {
      await mkdir(path, { mode: 0o700 }).catch(conflictOn(path, "EEXIST"));
      await sync(dirname(path));
    });
  }

  publish(from: string, to: string): Promise<void> {
    return guarded("giving a file its name", to, async () => {
      absolute(from, "from");
      const isDirectory = (await lstat(from)).isDirectory();
      if (isDirectory) await renameDirectory(from, to);
      else {
        // Unlike a renaming, a link never takes the place of another file.
        await link(from, to).catch(conflictOn(to, "EEXIST"));
        await unlink(from);
      }
      await sync(dirname(to));
    });
  }

  remove(path: string, identity?: string): Promise<void> {
    return guarded("removing a file", path, async () => {
      if (identity !== undefined && (await identityAt(path)) !== identity) return;
      await rm(path, { recursive: true, force: true });
      await sync(dirname(path)).catch(throwUnless("ENOENT", "ENOTDIR"));
    });
  }

  readText(path: string): Promise<string | undefined> {
    return guarded("reading a file", path, async () => {
      const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(throwUnless("ENOENT", "ENOTDIR"));
      if (file === undefined) return undefined;
      try {
        const { size } = await file.stat();
        if (size > MAX_TEXT_BYTES)
          throw new OverflowError(`a file is longer than ${MAX_TEXT_BYTES} bytes`, { detail: path });
        return await file.readFile("utf8");
      } finally {
        await file.close();
      }
    });
  }

  writeText(path: string, text: string): Promise<void> {
    return guarded("writing a file", path, () => writeFileAtomic(path, text));
  }

  list(path: string): Promise<readonly string[]> {
    return guarded("reading a directory", path, async () => {
      const names = (await readdir(path).catch(throwUnless("ENOENT"))) ?? [];
      return names.sort();
    });
  }
}

/** Should somebody take the name in between, a renaming replaces nothing but a directory that is empty. */
async function renameDirectory(from: string, to: string): Promise<void> {
  if ((await identityAt(to)) !== undefined) throw taken(to);
  await rename(from, to).catch(conflictOn(to, "ENOTEMPTY", "EEXIST", "ENOTDIR"));
}

async function identityAt(path: string): Promise<string | undefined> {
  const stats = await lstat(path, { bigint: true }).catch(throwUnless("ENOENT", "ENOTDIR"));
  return stats === undefined ? undefined : `${stats.dev}:${stats.ino}`;
}

async function sync(directory: string): Promise<void> {
  const file = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  await file.sync().finally(() => file.close());
}

function conflictOn(path: string, ...errnos: readonly string[]): (error: unknown) => never {
  return (error) => {
    if (!errnos.includes(errnoOf(error) ?? "")) throw error;
    throw taken(path, error);
  };
}

function taken(path: string, cause?: unknown): ConflictError {
  return new ConflictError("a file or directory has that name already", { cause, detail: path });
}

async function guarded<T>(doing: string, path: string, work: () => Promise<T>): Promise<T> {
  absolute(path, "path");
  try {
    return await work();
  } catch (error) {
    throw await storageFailure(error, doing, dirname(path));
  }
}

// Directories for one test's files, with names short enough for the sockets in them.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string;
  /** The path of a file in it. */
  file(name: string): string;
  remove(): Promise<void>;
}

/** A new empty directory; `await using` or `remove()` deletes it with everything in it. */
export async function temporaryDirectory(prefix = "hv-"): Promise<TemporaryDirectory> {
  const path = await mkdtemp(join(tmpdir(), prefix));
  // A program that is just ending may still write a file.
  const remove = () => rm(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  return { path, file: (name) => join(path, name), remove, [Symbol.asyncDispose]: remove };
}

/** Runs `task` with a new directory, which is gone when it ends, however it ends. */
export async function withTemporaryDirectory<T>(task: (directory: TemporaryDirectory) => Promise<T>): Promise<T> {
  const directory = await temporaryDirectory();
  try {
    return await task(directory);
  } finally {
    await directory.remove();
  }
}

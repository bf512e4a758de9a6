/** Writes the files of a drive into a directory that is nobody else's. */
import { mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { InvalidArgumentError, throwIfAborted } from "../../core/index.js";
import type { ConfigDriveFile } from "./config-drive-content.js";

const PATH = /^[a-z0-9][a-z0-9._-]{0,63}(?:\/[a-z0-9][a-z0-9._-]{0,63}){0,3}$/;

/** Directories get mode 0700, files 0600. The directory itself must not be there. @throws InvalidArgumentError for another path than a drive has */
export async function writeFiles(
  directory: string,
  files: readonly ConfigDriveFile[],
  signal: AbortSignal | undefined,
): Promise<void> {
  await mkdir(directory, { mode: 0o700 });
  for (const { path, contents } of files) {
    throwIfAborted(signal);
    if (!PATH.test(path)) throw new InvalidArgumentError({ field: "path", value: path, expected: "a path of a drive" });
    const target = join(directory, path);
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    const file = await open(target, "wx", 0o600);
    try {
      await file.writeFile(contents);
    } finally {
      await file.close();
    }
  }
}

/** Makes directories for this user alone. */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { errnoOf, throwUnless } from "./storage-failure.js";

const MODE = 0o700;

/**
 * Makes a directory, and those above it; one that is there stays as it is. Node's own recursive `mkdir` says `ENOENT` of a
 * read-only file system, so each is made by itself.
 */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: MODE });
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return;
    if (errnoOf(error) !== "ENOENT" || dirname(path) === path) throw error;
    await makeDirectory(dirname(path));
    await mkdir(path, { mode: MODE }).catch(throwUnless("EEXIST"));
  }
}

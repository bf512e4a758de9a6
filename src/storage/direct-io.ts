/** Whether a file system lets programs go past the host's page cache. */
import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { open, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { check } from "../core/index.js";
import { errnoOf, storageFailure } from "./storage-failure.js";

/** What systems answer where O_DIRECT is not to be had. */
const REFUSALS = new Set(["EINVAL", "EOPNOTSUPP", "ENOTSUP"]);

/**
 * Whether QEMU can open what is at the path with the cache modes `none` and `directsync`: a file, a block device, or new files
 * in a directory. It asks as QEMU does, by opening with O_DIRECT; nothing is left. Where it can't, `writethrough`
 * is the mode to fall back to (Nova's `supports_direct_io`).
 * Rejects with `StorageError` when there is nothing or it can't be opened at all.
 */
export async function supportsDirectIo(path: string): Promise<boolean> {
  check.absolutePath()(path, "path");
  let probe: string | undefined;
  try {
    if ((await stat(path)).isDirectory()) probe = join(path, `.direct-${randomUUID()}`);
    const flags = probe === undefined ? constants.O_RDONLY : constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
    const file = await open(probe ?? path, flags | constants.O_DIRECT | constants.O_NONBLOCK, 0o600);
    await file.close();
    return true;
  } catch (error) {
    if (REFUSALS.has(errnoOf(error) ?? "")) return false;
    throw await storageFailure(
      error,
      "looking whether direct I/O can be had",
      probe === undefined ? dirname(path) : path,
    );
  } finally {
    // Some systems make the file before they refuse.
    if (probe !== undefined) await rm(probe, { force: true });
  }
}

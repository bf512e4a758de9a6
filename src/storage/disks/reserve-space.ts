/** Has the file system set space aside for a disk, so that a guest never meets a full one. */
import { stat, statfs, truncate } from "node:fs/promises";
import { dirname } from "node:path";
import { isHyperviseError } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import { DiskFullError } from "../errors.js";
import type { TransferOptions } from "../images/image-store.js";
import type { Preallocation } from "../qemu-img.js";

/** File systems that can't reserve space write it, which takes its time. */
const TIMEOUT_MS = 3_600_000;

/** Reserves the first `sizeBytes` of a file, whose size stays as it is; does nothing for `none`. What was reserved is given back on failure. */
export async function reserveSpace(
  path: string,
  sizeBytes: number,
  preallocation: Preallocation,
  commands: CommandRunner,
  { signal }: TransferOptions,
): Promise<void> {
  if (preallocation === "none") return;
  try {
    await commands.run(["fallocate", "--keep-size", "--length", String(sizeBytes), path], {
      timeoutMs: TIMEOUT_MS,
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    // Frees what lies behind the end of the file.
    await truncate(path, (await stat(path)).size);
    throw error;
  }
}

/**
 * Runs what takes `sizeBytes` of the file system at once. A command that fails where there is not so much left has failed for
 * that: the little that a file system still takes afterwards would hide it.
 */
export async function needingSpace<T>(
  path: string,
  sizeBytes: number,
  preallocation: Preallocation,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (preallocation === "none" || !isHyperviseError(error, "COMMAND_FAILED")) throw error;
    const { bavail, bsize } = await statfs(dirname(path));
    if (bavail * bsize >= sizeBytes) throw error;
    throw new DiskFullError("the host's storage has no room for the disk", {
      cause: error,
      detail: path,
      remedy: "free space on the file system, or raise the quota, and try again",
    });
  }
}

// What the storage tests share: small file systems, images with known bytes, and what a guest would see of a disk.
import { createHash } from "node:crypto";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run, temporaryDirectory, withTemporaryDirectory } from "../../lab/index.js";

export const MIB = 1024 * 1024;

/** Runs `task` with the mount point of a file system of that size in memory. */
export async function withSmallFileSystem(sizeBytes: number, task: (path: string) => Promise<void>): Promise<void> {
  await using directory = await temporaryDirectory();
  await run(["mount", "-t", "tmpfs", "-o", `size=${sizeBytes}`, "tmpfs", directory.path]);
  try {
    await task(directory.path);
  } finally {
    await run(["umount", "-l", directory.path]);
  }
}

/** Makes an image of 4 MiB in which 1 MiB, at 1 MiB, is filled with the byte. */
export async function makeImage(
  path: string,
  format: string,
  byte: number,
  options: readonly string[] = [],
): Promise<void> {
  await run(["qemu-img", "create", "-q", "-f", format, ...options, path, String(4 * MIB)]);
  await writeBytes(path, format, byte, MIB, MIB);
}

/** What a guest does. */
export async function writeBytes(
  path: string,
  format: string,
  byte: number,
  offset: number,
  length: number,
): Promise<void> {
  await run(["qemu-io", "-f", format, "-c", `write -P ${byte} ${offset} ${length}`, path]);
}

/** A hash of all that a guest sees on a disk. */
export async function guestView(path: string, format: string): Promise<string> {
  return withTemporaryDirectory(async (directory) => {
    const flat = join(directory.path, "flat");
    await run(["qemu-img", "convert", "-f", format, "-O", "raw", path, flat]);
    return createHash("sha256")
      .update(await readFile(flat))
      .digest("hex");
  });
}

/** Leaves no byte of the file system free. */
export async function fill(directory: string): Promise<() => Promise<void>> {
  const path = join(directory, "filler");
  for (let size = 256 * 1024; size >= 1; size = Math.floor(size / 2)) {
    const append = (): Promise<boolean> =>
      writeFile(path, Buffer.alloc(size, 1), { flag: "a" }).then(
        () => true,
        () => false,
      );
    while (await append());
  }
  return () => rm(path);
}

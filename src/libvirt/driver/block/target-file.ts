/** New files that disks and memory are written to. */
import { lstat, open, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { ConflictError } from "../../../core/index.js";
import { HostIoError } from "../../../host/index.js";
import { DiskFullError } from "../../../storage/index.js";
import type { DiskSource, DiskSourceFormat } from "../../../storage/index.js";
import type { GuestCore } from "../guest-core.js";
import { emptyQcow2 } from "./empty-qcow2.js";

export interface TargetFile {
  readonly path: string;
  readonly format: DiskSourceFormat;
  readonly sizeBytes: number;
}

/** Below this much a file system that a write has failed on is full. */
const FULL_BYTES = 1_048_576;

/** @throws ConflictError when something is at one of the paths, or a path is given twice */
export async function refuseTaken(paths: readonly string[]): Promise<void> {
  for (const [index, path] of paths.entries()) {
    const there = await lstat(path).then(
      () => true,
      () => false,
    );
    if (there || paths.indexOf(path) !== index) throw new ConflictError("there is a file already", { detail: path });
  }
}

/**
 * Makes a disk without content that nobody else reads. libvirt would do so too, but base what has changed in a disk on the disk itself.
 * @throws ConflictError when something is there; DiskFullError, HostIoError
 */
export function makeDiskFile(core: GuestCore, { path, format, sizeBytes }: TargetFile): Promise<void> {
  if (format === "raw") return makeFile(core, path, Buffer.alloc(0), sizeBytes);
  const { head, fileBytes } = emptyQcow2(sizeBytes);
  return makeFile(core, path, head, fileBytes);
}

/** Makes a file that nobody else reads. What another has made in the meantime is not this work's to remove. */
export async function makeFile(core: GuestCore, path: string, head: Buffer, sizeBytes: number): Promise<void> {
  try {
    const file = await open(path, "wx", 0o600);
    try {
      await file.write(head);
      await file.truncate(sizeBytes);
    } finally {
      await file.close();
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOSPC" || code === "EDQUOT")
      throw new DiskFullError("there is no space for the file", { cause, detail: path });
    if (code !== "EEXIST") throw new HostIoError({ operation: "making a file", path, cause });
    await core.update((state) => {
      const { work } = state;
      if (work === undefined) return state;
      return { ...state, work: { ...work, files: work.files.filter((file) => file !== path) } };
    });
    throw new ConflictError("there is a file already", { detail: path, cause });
  }
}

/** Whether the file system that a path is on has next to no space left; false where there is none to be seen. */
export async function isFull(path: string): Promise<boolean> {
  const found = await statfs(dirname(path)).catch(() => undefined);
  return found !== undefined && found.bavail * found.bsize < FULL_BYTES;
}

/** Whether what a disk is kept in is a file on a file system that is full. */
export async function isFullBelow(source: DiskSource): Promise<boolean> {
  return source.type === "file" && isFull(source.path);
}

/** New files that disks are copied to: made, given a format by QEMU, opened. */
import { lstat, open, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { ConflictError } from "../../core/index.js";
import type { Deadline } from "../../core/index.js";
import { HostIoError } from "../../host/index.js";
import { DiskFullError } from "../../storage/index.js";
import type { DiskSourceFormat } from "../../storage/index.js";
import { QmpJobError } from "../../qmp/index.js";
import type { QmpArguments } from "../../qmp/index.js";
import { grantAccess } from "../access/grant-access.js";
import type { GuestCore } from "../guest-core.js";
import { diskNode } from "../plan/block-nodes.js";
import type { GuestSession } from "../session.js";
import { reach } from "./job.js";
import { addNode } from "./nodes.js";
import { FILE_PURPOSE } from "./work.js";

export interface TargetFile {
  readonly path: string;
  readonly format: DiskSourceFormat;
  readonly sizeBytes: number;
}

/** Below this much a file system that a write has failed on is full. */
const FULL_BYTES = 1_048_576;

/** Id of the job that gives the file of a disk's copy its format. */
export function formatJob(handle: string): string {
  return `format-${handle}`;
}

/**
 * Makes a file and opens it in QEMU, beside the nodes of the disk that is to be copied to it.
 * @returns the name of its node
 * @throws ConflictError when something is there; DiskFullError, HostIoError
 */
export async function openTarget(
  core: GuestCore,
  session: GuestSession,
  handle: string,
  { path, format, sizeBytes }: TargetFile,
  deadline: Deadline,
): Promise<string> {
  await makeFile(core, path, format === "raw" ? sizeBytes : 0);
  await grantAccess(core, path, "write", FILE_PURPOSE);
  const name = `${handle}-copy`;
  const storage = `${name}-storage`;
  await addNode(session, { driver: "file", filename: path, "node-name": storage, discard: "unmap" });
  if (format === "qcow2") {
    const args = { "job-id": formatJob(handle), options: { driver: "qcow2", file: storage, size: sizeBytes } };
    await session.execute("blockdev-create", args as unknown as QmpArguments<"blockdev-create">);
    await explainFull(path, () => reach(session, formatJob(handle), "concluded", deadline));
  }
  await addNode(session, { driver: format, "node-name": diskNode(name), file: storage, discard: "unmap" });
  return diskNode(name);
}

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

/** Makes a file that nobody else reads, of a size, without content. What another has made in the meantime is not this work's to remove. */
export async function makeFile(core: GuestCore, path: string, sizeBytes: number): Promise<void> {
  try {
    const file = await open(path, "wx", 0o600);
    try {
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
      return work === undefined
        ? state
        : { ...state, work: { ...work, files: work.files.filter((file) => file !== path) } };
    });
    throw new ConflictError("there is a file already", { detail: path, cause });
  }
}

/** What fails while the file system of the path is full, fails because of that: QEMU tells so only in words. */
export async function explainFull<T>(path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof QmpJobError) || !(await isFull(path))) throw error;
    throw new DiskFullError("the storage that is copied to is full", { cause: error });
  }
}

/** Whether the file system that a path is on has next to no space left. */
export async function isFull(path: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(dirname(path));
  return bavail * bsize < FULL_BYTES;
}

/** What the file of a disk tells of it. */
import { stat } from "node:fs/promises";
import type { DiskInfo } from "./disk-backend.js";
import type { FileDiskSource } from "./disk-source.js";
import { readQcow2Header } from "../images/qcow2-header.js";
import { statIfThere } from "./instance-disks.js";
import type { FormattedFile } from "../qemu-img.js";

const SECTOR = 512;

export function fileSourceOf(file: FormattedFile): FileDiskSource {
  return { type: "file", path: file.path, format: file.format === "raw" ? "raw" : "qcow2" };
}

export async function virtualSizeOf(file: FormattedFile): Promise<number> {
  return file.format === "raw" ? (await stat(file.path)).size : (await readQcow2Header(file.path)).virtualSizeBytes;
}

/** Undefined when the file is not there. */
export async function describeDisk(name: string, file: FormattedFile): Promise<DiskInfo | undefined> {
  const stats = await statIfThere(file.path);
  if (stats === undefined) return undefined;
  const header = file.format === "raw" ? undefined : await readQcow2Header(file.path);
  const virtualSizeBytes = header?.virtualSizeBytes ?? stats.size;
  const allocatedBytes = stats.blocks * SECTOR;
  return {
    name,
    source: fileSourceOf(file),
    virtualSizeBytes,
    allocatedBytes,
    ...(header?.backingFile === undefined ? {} : { backingFile: header.backingFile }),
    overCommittedBytes: Math.max(0, virtualSizeBytes - allocatedBytes),
  };
}

/** Volumes that have a path on this host: what it leads to is checked, and measured. */
import { open, readFile, realpath, stat } from "node:fs/promises";
import type { Stats } from "node:fs";
import { dirname } from "node:path";
import type { DiskSourceFormat, LocalDiskSource } from "../disks/disk-source.js";
import { VolumeConnectError } from "../errors.js";
import { isWithin, resolveBackingChain } from "../images/backing-chain.js";
import { readQcow2Header } from "../images/qcow2-header.js";
import { errnoOf } from "../storage-failure.js";

export interface LocalVolumePlace {
  readonly path: string;
  readonly format: DiskSourceFormat;
  readonly kind: "file" | "block";
}

export interface LocalVolumeRules {
  /** Directories that the volume and all that it refers to must lie in. */
  readonly roots: readonly string[];
  readonly maxDepth: number;
  /** For errors. */
  readonly volumeId: string;
}

const SECTOR = 512;

/**
 * The source that a volume's path stands for.
 * @throws VolumeConnectError when there is no such file or device or it is of the other kind; ImageUnacceptableError when it leads out of the roots
 */
export async function openLocalVolume(
  { path, format, kind }: LocalVolumePlace,
  { roots: given, maxDepth, volumeId: device }: LocalVolumeRules,
): Promise<LocalDiskSource> {
  try {
    const roots = await realRoots(given);
    const stats = await stat(path);
    if (kind === "block" ? !stats.isBlockDevice() : !stats.isFile()) {
      const what = kind === "block" ? "a block device" : "a regular file";
      throw new VolumeConnectError(`the volume's path is not ${what}`, { device, retryable: false, detail: path });
    }
    // The name of a logical volume is a link to a device whose own name changes: its directory is what is allowed.
    const allowed = kind === "block" ? [...roots, ...(await deviceRoots(path, roots))] : roots;
    const chain = await resolveBackingChain(path, format, { roots: allowed, maxDepth });
    return { type: kind, path: kind === "block" ? path : (chain[0] ?? path), format };
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    throw new VolumeConnectError("the volume's path can't be reached", { device, cause: error, detail: path });
  }
}

/** The size that a guest sees of a volume, as long as it is not encrypted. */
export async function localVolumeBytes({ path, format }: LocalDiskSource): Promise<number> {
  if (format === "qcow2") return (await readQcow2Header(path)).virtualSizeBytes;
  const stats = await stat(path);
  return stats.isBlockDevice() ? blockDeviceBytes(stats) : presentBytes(path);
}

/** A client of a network file system asks its server for a file's size when the file is opened, and for a while after that not again. */
async function presentBytes(path: string): Promise<number> {
  const file = await open(path, "r");
  try {
    return (await file.stat()).size;
  } finally {
    await file.close();
  }
}

async function realRoots(roots: readonly string[]): Promise<readonly string[]> {
  const real = await Promise.all(roots.map((root) => realpath(root).catch(() => undefined)));
  return real.filter((root) => root !== undefined);
}

async function deviceRoots(path: string, roots: readonly string[]): Promise<readonly string[]> {
  return isWithin(await realpath(dirname(path)), roots) ? [await realpath(path)] : [];
}

/** The kernel tells sizes in sectors of 512 bytes whatever the device's are. */
async function blockDeviceBytes(stats: Stats): Promise<number> {
  const device = BigInt(stats.rdev);
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n);
  const minor = (device & 0xffn) | ((device >> 12n) & 0xffffff00n);
  return Number(await readFile(`/sys/dev/block/${major}:${minor}/size`, "utf8")) * SECTOR;
}

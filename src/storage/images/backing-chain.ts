/** Follows a disk image down its chain of backing files, within limits, before any hypervisor does. */
import { realpath, stat } from "node:fs/promises";
import { dirname, isAbsolute, resolve, sep } from "node:path";
import type { DiskSourceFormat } from "../disks/disk-source.js";
import { ImageUnacceptableError } from "../errors.js";
import { readQcow2Header } from "./qcow2-header.js";

export interface ChainLimits {
  /** Directories, by their real paths, that all files of the chain must lie in. */
  readonly roots: readonly string[];
  /** Most files of a chain. */
  readonly maxDepth: number;
}

/**
 * Resolves to the real paths of the files of the chain, the image itself first.
 * @throws ImageUnacceptableError when a file lies elsewhere, is met twice, keeps its data in another file, names a backing
 * file by anything but a plain path or without its format, or when the chain is too long.
 */
export async function resolveBackingChain(
  path: string,
  format: DiskSourceFormat,
  limits: ChainLimits,
): Promise<readonly string[]> {
  const chain: string[] = [];
  const seen = new Set<string>();
  let next: { readonly path: string; readonly format: DiskSourceFormat } | undefined = { path, format };
  while (next !== undefined) {
    if (chain.length >= limits.maxDepth) throw unacceptable(`its chain has more than ${limits.maxDepth} files`);
    const real = await realpath(next.path);
    if (!isWithin(real, limits.roots)) throw unacceptable("a file of its chain is outside of the allowed directories");
    const { dev, ino } = await stat(real, { bigint: true });
    if (seen.has(`${dev}:${ino}`)) throw unacceptable("its chain of backing files is a loop");
    seen.add(`${dev}:${ino}`);
    chain.push(real);
    next = await backingOf(next.path, next.format);
  }
  return chain;
}

/** Whether a real path is one of the directories or below. */
export function isWithin(path: string, roots: readonly string[]): boolean {
  return roots.some((root) => path === root || path.startsWith(root.endsWith(sep) ? root : `${root}${sep}`));
}

async function backingOf(
  path: string,
  format: DiskSourceFormat,
): Promise<{ path: string; format: DiskSourceFormat } | undefined> {
  if (format === "raw") return undefined;
  const header = await readQcow2Header(path);
  if (header.externalDataFile) throw unacceptable("it keeps its data in another file");
  const { backingFile, backingFormat } = header;
  if (backingFile === undefined) return undefined;
  if (backingFormat !== "raw" && backingFormat !== "qcow2")
    throw unacceptable("it does not say of which format its backing file is");
  // What QEMU would take for a protocol, such as json: or nbd:.
  if (/^[^/]*:/.test(backingFile) || backingFile === "") throw unacceptable("its backing file is no plain file");
  return { path: isAbsolute(backingFile) ? backingFile : resolve(dirname(path), backingFile), format: backingFormat };
}

function unacceptable(why: string): ImageUnacceptableError {
  return new ImageUnacceptableError(`the image can't be used: ${why}`);
}

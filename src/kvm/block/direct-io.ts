/** Which disks that are to go past the host's page cache can't, since a file system below them does not let them. */
import type { GuestDisk } from "../../driver/index.js";
import { isLocalSource, resolveBackingChain, supportsDirectIo } from "../../storage/index.js";
import type { LocalDiskSource } from "../../storage/index.js";
import type { LoadedDisk } from "../plan/block-nodes.js";
import { throughPageCache, wantsDirectIo } from "../plan/disk-tuning.js";

/** Longest chain of backing files that is followed. */
const MAX_CHAIN = 200;

/** Whether a file can be opened with O_DIRECT. @throws any error where that can't be told */
export type DirectIoProbe = (path: string) => Promise<boolean>;

/** Ids of the disks that have to go through the page cache against their tuning. Never rejects: a file that can't be looked at is QEMU's to refuse. */
export async function disksThroughPageCache(
  disks: readonly GuestDisk[],
  probe: DirectIoProbe = supportsDirectIo,
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const disk of disks) {
    const { source } = disk;
    if (!wantsDirectIo(disk) || source === undefined || !isLocalSource(source)) continue;
    if (!(await allOpenDirectly(source, probe))) found.add(disk.id);
  }
  return found;
}

/** The disk with a tuning that it can be opened with. */
export async function openable(disk: LoadedDisk, probe?: DirectIoProbe): Promise<LoadedDisk> {
  const indirect = (await disksThroughPageCache([disk], probe)).has(disk.id);
  return indirect ? { ...disk, tuning: throughPageCache(disk.tuning) } : disk;
}

/** What a disk is based on is opened as the disk itself is. */
async function allOpenDirectly({ path, format }: LocalDiskSource, probe: DirectIoProbe): Promise<boolean> {
  try {
    for (const file of await resolveBackingChain(path, format, { roots: ["/"], maxDepth: MAX_CHAIN }))
      if (!(await probe(file))) return false;
  } catch {
    return true;
  }
  return true;
}

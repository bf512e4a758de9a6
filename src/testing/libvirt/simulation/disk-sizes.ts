/** How large the disks of simulated domains are. */
import type { HostState } from "./host-state.js";

const DEFAULT_DISK_BYTES = 1024n ** 3n;

/** A volume's capacity where the disk is one, what was said of its file, or a gibibyte. */
export function sizeOfDisk(host: HostState, disk: { readonly source?: unknown }): bigint {
  const { file, dev, pool, volume } = (disk.source ?? {}) as Readonly<Record<string, string | undefined>>;
  const path = file ?? dev;
  const record = [...host.pools.values()].flatMap((each) =>
    [...each.volumes.values()].filter(
      (candidate) => candidate.path === path || (each.name === pool && candidate.name === volume),
    ),
  )[0];
  return record?.capacity ?? host.fileSizes.get(path ?? "") ?? DEFAULT_DISK_BYTES;
}

/** What is told of a migration while it goes on. Pure. */
import type { MigrationPhase, MigrationProgress } from "../../driver/index.js";
import { toNumber } from "../../qmp/index.js";
import type { Qapi } from "../../qmp/index.js";

/** How far copies of disks are, in bytes, all together. */
export interface CopiedDisks {
  readonly totalBytes: number;
  readonly doneBytes: number;
}

export const NO_DISKS: CopiedDisks = { totalBytes: 0, doneBytes: 0 };

/** One look at QEMU's figures as the driver tells them. */
export function progressOf(phase: MigrationPhase, info: Qapi.MigrationInfo, disks: CopiedDisks): MigrationProgress {
  const { ram } = info;
  const dirtyPages = ram === undefined ? 0 : toNumber(ram["dirty-pages-rate"]);
  const downtime = info.downtime ?? info["expected-downtime"];
  return {
    phase,
    memoryTotalBytes: ram === undefined ? 0 : toNumber(ram.total),
    memoryTransferredBytes: ram === undefined ? 0 : toNumber(ram.transferred),
    memoryRemainingBytes: ram === undefined ? 0 : toNumber(ram.remaining),
    diskTotalBytes: disks.totalBytes,
    diskTransferredBytes: disks.doneBytes,
    diskRemainingBytes: Math.max(0, disks.totalBytes - disks.doneBytes),
    ...(ram === undefined ? {} : { dirtyBytesPerSecond: dirtyPages * toNumber(ram["page-size"]) }),
    iteration: ram === undefined ? 0 : toNumber(ram["dirty-sync-count"]),
    ...(downtime === undefined ? {} : { downtimeMs: toNumber(downtime) }),
  };
}

/** What is told of a migration while it goes on. Pure. */
import type { MigrationPhase, MigrationProgress } from "../../../driver/index.js";
import type { TypedParameterValues } from "../../rpc/index.js";

/** `virDomainGetJobStats` of a migration. */
export type JobFigures = TypedParameterValues;

/** One look at libvirt's figures as the driver tells them. */
export function progressOf(phase: MigrationPhase, figures: JobFigures): MigrationProgress {
  const number = (name: string): number | undefined => {
    const value = figures[name];
    return typeof value === "bigint" || typeof value === "number" ? Number(value) : undefined;
  };
  const rate = number("memory_dirty_rate");
  const page = number("memory_page_size") ?? 4_096;
  const downtimeMs = number("downtime");
  return {
    phase,
    memoryTotalBytes: number("memory_total") ?? 0,
    memoryTransferredBytes: number("memory_processed") ?? 0,
    memoryRemainingBytes: number("memory_remaining") ?? 0,
    diskTotalBytes: number("disk_total") ?? 0,
    diskTransferredBytes: number("disk_processed") ?? 0,
    diskRemainingBytes: number("disk_remaining") ?? 0,
    ...(rate === undefined ? {} : { dirtyBytesPerSecond: rate * page }),
    iteration: number("memory_iteration") ?? 0,
    ...(downtimeMs === undefined ? {} : { downtimeMs }),
  };
}

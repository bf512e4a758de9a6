/** How far the job of a domain is: a migration, or a backup. */
import { DomainJobOperation } from "../../../libvirt/rpc/index.js";
import type { TypedParameter } from "../../../libvirt/rpc/index.js";
import type { DomainJob, DomainRecord } from "./domain-record.js";
import type { HostState } from "./host-state.js";

const OPERATIONS = { migration: DomainJobOperation.migrationOut, backup: DomainJobOperation.backup } as const;

export interface JobProgress {
  readonly total: bigint;
  readonly done: bigint;
  readonly elapsed: bigint;
}

export function jobProgress(host: HostState, { job }: DomainRecord): JobProgress {
  if (job === undefined) return { total: 0n, done: 0n, elapsed: 0n };
  const { totalBytes: total, lastsMs, startedAt } = job;
  const elapsed = host.clock.now() - startedAt;
  const share = BigInt(Math.round(Math.min(1, elapsed / Math.max(1, lastsMs)) * 1000));
  return { total, done: (total * share) / 1000n, elapsed: BigInt(Math.round(elapsed)) };
}

/** The numbers of a job under way. */
export function jobStatistics(host: HostState, domain: DomainRecord, job: DomainJob): readonly TypedParameter[] {
  const { total, done, elapsed } = jobProgress(host, domain);
  const left = total - done;
  const amounts: readonly (readonly [field: string, value: bigint])[] =
    job.kind === "backup"
      ? [
          ["disk_total", total],
          ["disk_processed", done],
          ["disk_remaining", left],
        ]
      : [
          ["data_total", total],
          ["data_processed", done],
          ["data_remaining", left],
          ["memory_total", total],
          ["memory_processed", done],
          ["memory_remaining", left],
        ];
  return [
    { field: "operation", type: "int", value: OPERATIONS[job.kind] },
    ...[["time_elapsed", elapsed] as const, ...amounts].map(([field, value]): TypedParameter => ({
      field,
      type: "ullong",
      value,
    })),
  ];
}

/** Ends the job and tells of it; what it came to can be asked for once more. */
export function completeJob(host: HostState, domain: DomainRecord, success = true): void {
  const { job } = domain;
  if (job === undefined) return;
  const params: readonly TypedParameter[] = [
    ...jobStatistics(host, domain, job),
    ...(job.kind === "backup" ? [{ field: "success", type: "boolean" as const, value: success }] : []),
  ];
  domain.job = undefined;
  domain.completedJob = params;
  host.emit("domain", "jobCompleted", { dom: domain.reference, params: [...params] });
}

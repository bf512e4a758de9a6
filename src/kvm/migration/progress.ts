/** What is told of a migration while it goes on, and when the guest's longest standstill has to grow for it to end. Pure. */
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

/** The standstill that QEMU is allowed, of the longest that the caller allows: it begins at a tenth and grows by a tenth each time that the migration stalls. */
const STEPS = 10;
/** Passes over memory without getting further, after which the migration stalls. */
const PASSES_TO_STALL = 2;
/** A pass that leaves more than this part of the least so far has got no further. */
const GAIN = 0.9;

export interface Convergence {
  readonly longestMs: number;
  readonly step: number;
  readonly iteration: number;
  /** Least that was left at the end of a pass, bytes. */
  readonly leastBytes: number;
  readonly idlePasses: number;
}

export function beginConvergence(longestMs: number): Convergence {
  return { longestMs, step: 1, iteration: 0, leastBytes: Number.POSITIVE_INFINITY, idlePasses: 0 };
}

/** QEMU's `downtime-limit`, milliseconds. */
export function downtimeLimit({ longestMs, step }: Convergence): number {
  return Math.max(1, Math.round((longestMs * step) / STEPS));
}

/** After one look. A new pass that leaves no less than those before it is a step towards a longer standstill, until the longest. */
export function converge(state: Convergence, iteration: number, remainingBytes: number): Convergence {
  if (iteration <= state.iteration || iteration < 2)
    return { ...state, iteration: Math.max(iteration, state.iteration) };
  const further = remainingBytes < state.leastBytes * GAIN;
  const seen = { ...state, iteration, leastBytes: Math.min(state.leastBytes, remainingBytes) };
  if (further) return { ...seen, idlePasses: 0 };
  const idlePasses = state.idlePasses + (iteration - state.iteration);
  if (idlePasses < PASSES_TO_STALL) return { ...seen, idlePasses };
  return { ...seen, idlePasses: 0, step: Math.min(STEPS, state.step + 1) };
}

/** What outlives the driver's process of the work on a guest's disks and memory: what is under way, and the checkpoints that were set. */
import { check } from "../../../core/index.js";
import type { Check } from "../../../core/index.js";
import { diskSourceCheck } from "../../../storage/index.js";
import type { DiskSource } from "../../../storage/index.js";

/** `blockJob`: jobs of single disks. `backup`, `dump`: a job of the whole domain. `atOnce`: one call that does it or does not. */
export const WORK_KINDS = ["blockJob", "backup", "dump", "atOnce"] as const;
export type WorkKind = (typeof WORK_KINDS)[number];

/** A disk that goes over from one source to another. */
export interface DiskMove {
  readonly diskId: string;
  readonly from: DiskSource;
  readonly to: DiskSource;
  /** What the target takes by itself, in bytes, where it is made smaller for as long as it is copied to. */
  readonly ownBytes?: number;
}

/** Work that libvirt was asked for, written before it begins and removed when all of it is done or undone. */
export interface GuestWork {
  readonly kind: WorkKind;
  /** Names of disks in libvirt's calls, `vda`, that block jobs of this work may be on. */
  readonly targets: readonly string[];
  /** Files that are being made, which go unless the work succeeds. */
  readonly files: readonly string[];
  readonly move?: DiskMove;
  /** libvirt's name of a checkpoint that goes unless the work succeeds. */
  readonly checkpoint?: string;
  /** The guest ran when the work began that stops it. */
  readonly resume?: boolean;
}

/** A point in time from which on changes are kept track of. */
export interface Checkpoint {
  readonly name: string;
  /** libvirt's name; no other checkpoint of the guest has ever had it. */
  readonly libvirtName: string;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly diskIds: readonly string[];
}

const names = check.array(check.string({ max: 255 }), { max: 1024 });
const checkpointName = check.string({ max: 255, charset: "name" });

export const workCheck: Check<GuestWork> = check.object({
  kind: check.oneOf(WORK_KINDS),
  targets: names,
  files: check.array(check.absolutePath(), { max: 1024 }),
  move: check.optional(
    check.object({
      diskId: check.string({ max: 255 }),
      from: diskSourceCheck,
      to: diskSourceCheck,
      ownBytes: check.optional(check.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })),
    }),
  ),
  checkpoint: check.optional(checkpointName),
  resume: check.optional(check.boolean()),
});

export const checkpointsCheck: Check<readonly Checkpoint[]> = check.array(
  check.object({
    name: check.string({ max: 64, charset: "name" }),
    libvirtName: checkpointName,
    createdAt: check.number({ min: 0 }),
    diskIds: names,
  }),
  { max: 1024 },
);

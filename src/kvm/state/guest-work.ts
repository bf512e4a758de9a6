/** What outlives the driver's process of the work on a guest's disks and memory: what is under way, and the checkpoints that were set. */
import { check } from "../../core/index.js";
import type { Check } from "../../core/index.js";
import { diskSourceCheck } from "../../storage/index.js";
import type { DiskSource } from "../../storage/index.js";

/** A disk that goes over from one source to another. */
export interface DiskMove {
  readonly diskId: string;
  /** The block node under the disk's device before; absent where there was no medium. */
  readonly node?: string;
  readonly from?: DiskSource;
  readonly to?: DiskSource;
}

/**
 * Work that QEMU was asked for, written before it begins and removed when all of it is done or undone. While it stands, the definition names the
 * source that is right if QEMU ends now.
 */
export interface GuestWork {
  readonly diskIds: readonly string[];
  /** Ids of QEMU's jobs. */
  readonly jobs: readonly string[];
  /** Files that are being made, which go unless the work succeeds. */
  readonly files: readonly string[];
  readonly move?: DiskMove;
  /** Bitmaps that go unless the work succeeds. */
  readonly bitmaps: readonly string[];
}

/** A point in time from which on changes are kept track of, in a persistent bitmap of each disk. */
export interface Checkpoint {
  readonly name: string;
  readonly bitmap: string;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly diskIds: readonly string[];
}

const diskIds = check.array(check.string({ max: 255 }), { max: 1024 });
const names = check.array(check.string({ max: 255, charset: "name" }), { max: 1024 });

export const workCheck: Check<GuestWork> = check.object({
  diskIds,
  jobs: names,
  files: check.array(check.absolutePath(), { max: 1024 }),
  move: check.optional(
    check.object({
      diskId: check.string({ max: 255 }),
      node: check.optional(check.string({ max: 64, charset: "ascii" })),
      from: check.optional(diskSourceCheck),
      to: check.optional(diskSourceCheck),
    }),
  ),
  bitmaps: names,
});

export const checkpointsCheck: Check<readonly Checkpoint[]> = check.array(
  check.object({
    name: check.string({ max: 64, charset: "name" }),
    bitmap: check.string({ max: 255, charset: "name" }),
    createdAt: check.number({ min: 0 }),
    diskIds,
  }),
  { max: 1024 },
);

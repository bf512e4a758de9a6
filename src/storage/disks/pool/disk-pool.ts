/** Storage that keeps disks as volumes with names rather than as files: a volume group, a Ceph pool. */
import type { DiskSource } from "../disk-source.js";
import type { FormattedFile, ImageByOptions } from "../../qemu-img.js";
import type { TransferOptions } from "../../images/image-store.js";

export interface PoolVolume {
  readonly name: string;
  /** Bytes that a guest sees. */
  readonly sizeBytes: number;
}

export interface PoolContent {
  readonly volumes: readonly PoolVolume[];
  /** Names that stand for themselves: see {@link DiskPool.remark}. */
  readonly marks: readonly string[];
}

export interface PoolSpace {
  readonly totalBytes: number;
  readonly freeBytes: number;
}

/**
 * Changes are made once they resolve, for all hosts that share the pool, and outlive a loss of power. Failures are those of
 * the command runner; `DiskFullError` when the pool has no room. Names are the caller's, checked by `checkName`.
 */
export interface DiskPool {
  /** What it is called in errors: `the volume group`. */
  readonly label: string;

  /** @throws InvalidArgumentError for a name that this kind of storage can't bear. */
  checkName(name: string, field: string): void;

  read(): Promise<PoolContent>;

  /** What a volume of at least so many bytes really has. */
  roundUp(sizeBytes: number): Promise<number>;

  /** Makes a volume that reads as zeros and has `sizeBytes` or little more. */
  create(name: string, sizeBytes: number, options: TransferOptions): Promise<void>;

  /** What it grows by reads as zeros. */
  grow(volume: PoolVolume, sizeBytes: number, options: TransferOptions): Promise<void>;

  /** Success when there is none. */
  remove(name: string): Promise<void>;

  /** In one step. */
  rename(from: string, to: string): Promise<void>;

  /** Whether a program has it open. */
  isInUse(name: string): Promise<boolean>;

  /** Takes a mark away and sets another in one step; each may be absent. Taking away what is not there succeeds. */
  remark(from: string | undefined, to: string | undefined): Promise<void>;

  /** Bytes taken by each of the volumes. */
  allocatedBytes(volumes: readonly PoolVolume[]): Promise<ReadonlyMap<string, number>>;

  space(): Promise<PoolSpace>;

  /** What a guest opens. */
  sourceOf(name: string): DiskSource;

  /** What `qemu-img` opens. */
  imageOf(name: string): FormattedFile | ImageByOptions;
}

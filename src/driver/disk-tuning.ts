/** How a guest's disk is read and written on its host. */

export const DISK_CACHES = ["none", "writeback", "writethrough", "directsync", "unsafe"] as const;
export type DiskCache = (typeof DISK_CACHES)[number];

/** Most that a guest may do to a disk; 0 or absent: no limit. A total excludes the limits for reads and writes of the same kind. */
export interface DiskLimits {
  readonly totalBytesPerSecond?: number;
  readonly readBytesPerSecond?: number;
  readonly writeBytesPerSecond?: number;
  readonly totalOperationsPerSecond?: number;
  readonly readOperationsPerSecond?: number;
  readonly writeOperationsPerSecond?: number;
  /** The same in bursts, each above the lasting limit. */
  readonly burst?: Omit<DiskLimits, "burst" | "burstSeconds">;
  /** How long a burst may last. Default 1. */
  readonly burstSeconds?: number;
}

export interface DiskTuning {
  /** Default: the hypervisor's own; on KVM `writeback`, under which what the guest flushes is on the disk. */
  readonly cache?: DiskCache;
  /** For disks in files and on block devices. Default `threads`. `native` wants cache `none` or `directsync`. */
  readonly aio?: "threads" | "native" | "io_uring";
  /** Whether blocks that the guest trims are given back. Default `unmap`. */
  readonly discard?: "ignore" | "unmap";
  /** Default `off`. */
  readonly detectZeroes?: "off" | "on" | "unmap";
  /** Number of the I/O thread that serves the disk, from 0; absent: none of its own. Only bus `virtio`. */
  readonly ioThread?: number;
  /** Request queues of a virtio disk: 1 to 256. Default: the hypervisor's. */
  readonly queues?: number;
  /** Default 512. */
  readonly logicalBlockBytes?: 512 | 4096;
  /** A power of two from 512 to 32768, not below the logical one. Default: as the logical one. */
  readonly physicalBlockBytes?: number;
  /** What happens when the host can't read or write. Default `stop` for both: the guest is paused. NVMe and floppy drives only report. */
  readonly onReadError?: "report" | "stop" | "ignore";
  readonly onWriteError?: "report" | "stop" | "enospc" | "ignore";
  readonly limits?: DiskLimits;
}

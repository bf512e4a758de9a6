/** How a disk's tuning stands in its block nodes, in its device and in QEMU's limits. Pure. */
import type { JsonObject } from "../../core/index.js";
import type { DiskCache, DiskLimits, DiskTuning, GuestDisk } from "../../driver/index.js";
import { defined } from "./arguments.js";

/** `direct`: past the host's page cache. `writeCache`: the guest sees a cache and flushes it. */
const CACHES: {
  readonly [C in DiskCache]: { readonly direct: boolean; readonly noFlush: boolean; readonly writeCache: boolean };
} = {
  none: { direct: true, noFlush: false, writeCache: true },
  writeback: { direct: false, noFlush: false, writeCache: true },
  writethrough: { direct: false, noFlush: false, writeCache: false },
  directsync: { direct: true, noFlush: false, writeCache: false },
  unsafe: { direct: false, noFlush: true, writeCache: true },
};

type Tuned = Pick<GuestDisk, "tuning" | "deviceType" | "bus">;

/** Members of a disk's block nodes, format and protocol. */
export function nodeTuning({ tuning = {} }: Tuned, readOnly: boolean): JsonObject {
  return { ...(readOnly ? {} : { discard: tuning.discard ?? "unmap" }), ...cacheOf(tuning) };
}

/** Members of a disk's format node that its protocol node does not have. */
export function formatTuning({ tuning = {} }: Tuned): JsonObject {
  return defined({ "detect-zeroes": tuning.detectZeroes });
}

/** Whether a disk is to be opened with O_DIRECT, and may be opened without: what several hosts write must not be in the cache of one. */
export function wantsDirectIo({ tuning, shareable }: Pick<GuestDisk, "tuning" | "shareable">): boolean {
  return tuning?.cache !== undefined && CACHES[tuning.cache].direct && !shareable;
}

/** The tuning of a disk whose files can't be opened with O_DIRECT: each write is on the disk before the guest hears of it, as Nova has it. */
export function throughPageCache({ aio, ...tuning }: DiskTuning = {}): DiskTuning {
  const kept = aio === undefined || aio === "native" ? {} : { aio };
  return { ...tuning, ...kept, cache: "writethrough" };
}

/** Members of a file's or a block device's node. */
export function fileTuning({ tuning = {} }: Tuned): JsonObject {
  return defined({ aio: tuning.aio });
}

/** `cache` of a block node; whoever adds a node to a disk's chain adds this to it. */
export function cacheOf({ cache }: DiskTuning): JsonObject {
  if (cache === undefined) return {};
  const { direct, noFlush } = CACHES[cache];
  return { cache: { direct, "no-flush": noFlush } };
}

/** Members of the device. */
export function deviceTuning({ tuning = {}, deviceType, bus }: Tuned): JsonObject {
  const { cache, ioThread, queues, logicalBlockBytes, physicalBlockBytes, onReadError, onWriteError } = tuning;
  const reports = bus === "nvme" || bus === "fdc";
  const writes = deviceType === "disk";
  const physical = physicalBlockBytes ?? logicalBlockBytes;
  return defined({
    "write-cache":
      cache === undefined || bus === "fdc" || !writes ? undefined : CACHES[cache].writeCache ? "on" : "off",
    iothread: ioThread === undefined ? undefined : ioThreadId(ioThread),
    "num-queues": queues,
    logical_block_size: logicalBlockBytes,
    physical_block_size: physical,
    rerror: reports ? undefined : (onReadError ?? "stop"),
    werror: reports || !writes ? undefined : (onWriteError ?? "stop"),
  });
}

/** Id of an I/O thread. */
export function ioThreadId(index: number): string {
  return `iothread${index}`;
}

/**
 * A disk's limits as `block_set_io_throttle` takes them, with the `id` of the disk's device: every member that QEMU wants, 0 where there is no limit.
 * They belong to the device, not to a node, so that no change of the disk's chain takes them away.
 */
export function throttleOf(id: string, limits: DiskLimits): Throttle {
  const { burst = {}, burstSeconds } = limits;
  const lasting = Object.fromEntries(THROTTLE.map(([name, field]) => [name, limits[field] ?? 0])) as Record<
    ThrottleName,
    number
  >;
  const bursts = THROTTLE.flatMap(([name, field]): [string, number][] => {
    const most = burst[field] ?? 0;
    if (most === 0) return [];
    return [
      [`${name}_max`, most],
      ...(burstSeconds === undefined ? [] : [[`${name}_max_length`, burstSeconds] as [string, number]]),
    ];
  });
  return { id, ...lasting, ...Object.fromEntries(bursts) };
}

/** Members that QEMU wants, and `…_max` and `…_max_length` for bursts. */
export type Throttle = { readonly id: string } & { readonly [N in ThrottleName]: number } & {
  readonly [N in `${ThrottleName}_max` | `${ThrottleName}_max_length`]?: number;
};
type ThrottleName = "bps" | "bps_rd" | "bps_wr" | "iops" | "iops_rd" | "iops_wr";
type LimitName = Exclude<keyof DiskLimits, "burst" | "burstSeconds">;

const THROTTLE: readonly (readonly [ThrottleName, LimitName])[] = [
  ["bps", "totalBytesPerSecond"],
  ["bps_rd", "readBytesPerSecond"],
  ["bps_wr", "writeBytesPerSecond"],
  ["iops", "totalOperationsPerSecond"],
  ["iops_rd", "readOperationsPerSecond"],
  ["iops_wr", "writeOperationsPerSecond"],
];

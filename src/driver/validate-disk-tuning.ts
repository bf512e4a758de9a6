/** Checks of how a disk is read and written. */
import { check, InvalidArgumentError } from "../core/index.js";
import type { Check } from "../core/index.js";
import { DISK_CACHES } from "./disk-tuning.js";
import type { DiskLimits, DiskTuning } from "./disk-tuning.js";
import type { DiskBus } from "./instance-spec.js";

const MAX_RATE = 1_000_000_000_000_000;
const rate = check.optional(check.integer({ min: 0, max: MAX_RATE }));

const RATES = {
  totalBytesPerSecond: rate,
  readBytesPerSecond: rate,
  writeBytesPerSecond: rate,
  totalOperationsPerSecond: rate,
  readOperationsPerSecond: rate,
  writeOperationsPerSecond: rate,
} as const;
type RateName = keyof typeof RATES;

const limitsShape = check.object({
  ...RATES,
  burst: check.optional(check.object(RATES)),
  burstSeconds: check.optional(check.integer({ min: 1, max: 86_400 })),
});

/** Limits that can hold together. */
export const diskLimitsCheck: Check<DiskLimits> = (value, path) => {
  const limits = limitsShape(value, path);
  checkTotals(limits, path);
  const { burst, burstSeconds } = limits;
  if (burst === undefined) {
    if (burstSeconds !== undefined) throw invalid(`${path}.burstSeconds`, burstSeconds, "absent without burst");
    return limits;
  }
  checkTotals(burst, `${path}.burst`);
  for (const name of Object.keys(RATES) as RateName[]) {
    const [most, lasting] = [burst[name] ?? 0, limits[name] ?? 0];
    if (most !== 0 && (lasting === 0 || most < lasting))
      throw invalid(`${path}.burst.${name}`, most, `0, or at least the lasting ${name}`);
  }
  return limits;
};

function checkTotals(limits: Pick<DiskLimits, RateName>, path: string): void {
  for (const kind of ["BytesPerSecond", "OperationsPerSecond"] as const) {
    const parts = (limits[`read${kind}`] ?? 0) + (limits[`write${kind}`] ?? 0);
    const total = limits[`total${kind}`] ?? 0;
    if (total !== 0 && parts !== 0)
      throw invalid(`${path}.total${kind}`, total, "absent or 0 where reads or writes have a limit of their own");
  }
}

const isPowerOfTwo = (value: number): boolean => (value & (value - 1)) === 0;

const tuningShape = check.object({
  cache: check.optional(check.oneOf(DISK_CACHES)),
  aio: check.optional(check.oneOf(["threads", "native", "io_uring"])),
  discard: check.optional(check.oneOf(["ignore", "unmap"])),
  detectZeroes: check.optional(check.oneOf(["off", "on", "unmap"])),
  ioThread: check.optional(check.integer({ min: 0, max: 15 })),
  queues: check.optional(check.integer({ min: 1, max: 256 })),
  logicalBlockBytes: check.optional(check.oneOf([512, 4096])),
  physicalBlockBytes: check.optional(
    check.refine(check.integer({ min: 512, max: 32_768 }), isPowerOfTwo, "a power of two from 512 to 32768"),
  ),
  onReadError: check.optional(check.oneOf(["report", "stop", "ignore"])),
  onWriteError: check.optional(check.oneOf(["report", "stop", "enospc", "ignore"])),
  limits: check.optional(diskLimitsCheck),
});

/** A tuning whose parts go together; whether they go with the bus, {@link checkTuningFits} says. */
export const diskTuningCheck: Check<DiskTuning> = (value, path) => {
  const tuning = tuningShape(value, path);
  const { aio, cache, discard, detectZeroes, logicalBlockBytes, physicalBlockBytes } = tuning;
  if (aio === "native" && cache !== "none" && cache !== "directsync")
    throw invalid(`${path}.aio`, aio, "threads or io_uring, unless cache is none or directsync");
  if (detectZeroes === "unmap" && discard === "ignore")
    throw invalid(`${path}.detectZeroes`, detectZeroes, "off or on where discard is ignore");
  if (physicalBlockBytes !== undefined && physicalBlockBytes < (logicalBlockBytes ?? 512))
    throw invalid(
      `${path}.physicalBlockBytes`,
      physicalBlockBytes,
      `at least the ${logicalBlockBytes} of a logical block`,
    );
  return tuning;
};

/** What each bus can't do. @throws InvalidArgumentError */
export function checkTuningFits(tuning: DiskTuning, bus: DiskBus, ioThreads: number, path: string): void {
  const { ioThread, queues, onReadError, onWriteError, logicalBlockBytes, physicalBlockBytes } = tuning;
  const refuse = (field: keyof DiskTuning, value: unknown, expected: string): void => {
    if (value !== undefined) throw invalid(`${path}.${field}`, value, expected);
  };
  if (bus !== "virtio") {
    refuse("ioThread", ioThread, `absent on the ${bus} bus`);
    refuse("queues", queues, `absent on the ${bus} bus`);
  }
  if (bus === "nvme" || bus === "fdc") {
    refuse("onReadError", onReadError, `absent on the ${bus} bus: the guest is told of every error`);
    refuse("onWriteError", onWriteError, `absent on the ${bus} bus: the guest is told of every error`);
  }
  if (bus === "fdc" || bus === "ide" || bus === "sata") {
    const bytes = logicalBlockBytes === 512 ? undefined : logicalBlockBytes;
    refuse("logicalBlockBytes", bytes, `512 on the ${bus} bus`);
  }
  if (bus === "fdc") refuse("physicalBlockBytes", physicalBlockBytes, "absent on the fdc bus");
  if (ioThread !== undefined && ioThread >= ioThreads)
    throw invalid(`${path}.ioThread`, ioThread, `the number of one of the guest's ${ioThreads} I/O threads`);
}

function invalid(field: string, value: unknown, expected: string): InvalidArgumentError {
  return new InvalidArgumentError({ field, value, expected });
}

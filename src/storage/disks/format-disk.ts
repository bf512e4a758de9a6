/** What a new disk holds before its guest has written to it: a file system, or a swap area. */
import { open } from "node:fs/promises";
import { check, isHyperviseError, NotSupportedError } from "../../core/index.js";
import type { Check } from "../../core/index.js";
import { CommandError } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import type { TransferOptions } from "../images/image-store.js";
import { randomUUID } from "node:crypto";
import { swapHeader, SWAP_PAGE_BYTES } from "./format-swap.js";

/** File systems that an ephemeral disk can be made with. */
export const EPHEMERAL_FORMATS = ["ext4", "xfs", "vfat"] as const;
export type EphemeralFormat = (typeof EPHEMERAL_FORMATS)[number];

export interface GuestFormat {
  readonly type: EphemeralFormat | "swap";
  /** 1 to 11 characters of `[A-Za-z0-9._-]`; default: none. */
  readonly label?: string;
}

/** @throws InvalidArgumentError */
export const checkGuestFormat: Check<GuestFormat> = check.object({
  type: check.oneOf([...EPHEMERAL_FORMATS, "swap"]),
  label: check.optional(check.string({ max: 11, charset: "name" })),
});

/** Bounds of one run of a program that makes a file system. */
export interface MakeFileSystemLimits {
  /** Address space in bytes. Default 2 GiB. */
  readonly addressSpaceBytes: number;
  /** CPU time in seconds. Default 120. */
  readonly cpuSeconds: number;
  /** Longest run in milliseconds. Default 300000. */
  readonly runMs: number;
}

const DEFAULT_LIMITS: MakeFileSystemLimits = { addressSpaceBytes: 2 * 1024 ** 3, cpuSeconds: 120, runMs: 300_000 };

const PACKAGES: Readonly<Record<EphemeralFormat, string>> = { ext4: "e2fsprogs", xfs: "xfsprogs", vfat: "dosfstools" };
const EXIT_NOT_FOUND = 127;

/**
 * Formats a raw file of its final size that holds nothing yet; what stays unwritten are holes.
 * @throws NotSupportedError when the program is not on this host; what the command runner and the system throw
 */
export async function formatDisk(
  path: string,
  sizeBytes: number,
  format: GuestFormat,
  commands: CommandRunner,
  options: TransferOptions = {},
  limits: MakeFileSystemLimits = DEFAULT_LIMITS,
): Promise<void> {
  if (format.type === "swap") return writeSwapHeader(path, sizeBytes, format.label);
  const program = `mkfs.${format.type}`;
  const { addressSpaceBytes, cpuSeconds, runMs } = limits;
  const words = [program, ...argumentsOf(format.type, format.label), path];
  const prlimit = ["prlimit", `--as=${addressSpaceBytes}`, `--cpu=${cpuSeconds}`, "--core=0", "--", ...words];
  const run = {
    timeoutMs: runMs,
    env: ENVIRONMENT,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  };
  try {
    await commands.run(prlimit, run);
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new NotSupportedError({
      capability: `disks formatted with ${format.type}`,
      message: `making a disk with ${format.type} needs ${program}, which this host does not have`,
      remedy: `Install ${PACKAGES[format.type]}, or ask for another file system.`,
    });
  }
}

const ENVIRONMENT = { MALLOC_ARENA_MAX: "2" };

/** The last tells that `prlimit` was there and the program was not. */
function isMissing(error: unknown): boolean {
  return (
    isHyperviseError(error, "COMMAND_NOT_FOUND") || (error instanceof CommandError && error.exitCode === EXIT_NOT_FOUND)
  );
}

/** Holes stay holes: inode tables and the journal are written by the guest's kernel when it needs them. */
function argumentsOf(type: EphemeralFormat, label: string | undefined): readonly string[] {
  switch (type) {
    case "ext4":
      return ["-q", "-F", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", ...flag("-L", label)];
    case "xfs":
      return ["-q", "-f", "-K", ...flag("-L", label)];
    case "vfat":
      return ["-F", "32", ...flag("-n", label)];
  }
}

function flag(name: string, value: string | undefined): readonly string[] {
  return value === undefined ? [] : [name, value];
}

async function writeSwapHeader(path: string, sizeBytes: number, label: string | undefined): Promise<void> {
  const header = swapHeader({ sizeBytes, uuid: randomUUID(), ...(label === undefined ? {} : { label }) });
  const file = await open(path, "r+");
  try {
    await file.write(header, 0, SWAP_PAGE_BYTES, 0);
    await file.sync();
  } finally {
    await file.close();
  }
}

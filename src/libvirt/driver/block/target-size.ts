/** Copying a disk to a larger one: libvirt and QEMU copy between disks of one size only, so that the target has the disk's for as long as it is copied to. */
import { open, readFile, stat, truncate } from "node:fs/promises";
import { InvalidArgumentError, NotSupportedError } from "../../../core/index.js";
import type { DiskSource } from "../../../storage/index.js";
import { HostIoError } from "../../../host/index.js";
import type { GuestCore } from "../guest-core.js";
import type { DiskMove } from "../state/guest-work.js";
import { luksHeaderBytes } from "./luks-header.js";

const SECTOR_BYTES = 512;
/** Where a qcow2 file says how large the disk in it is. */
const QCOW2_SIZE_OFFSET = 24;

/**
 * What a target takes by itself, to be remembered before it gets the size of the disk, which the guest sees as `visibleBytes`; undefined where it has that size, or is
 * on network storage, where the host can't see it: libvirt says then that it does not fit.
 * @throws InvalidArgumentError for one that is smaller; NotSupportedError for a larger one that is no file; HostIoError
 */
export async function planFit(target: DiskSource, visibleBytes: number): Promise<number | undefined> {
  const own = await ownBytesOf(target);
  if (own === undefined) return undefined;
  const wanted = visibleBytes + (await luksHeaderBytes(target));
  if (own < wanted)
    throw new InvalidArgumentError({ field: "target", value: own, expected: `${wanted} bytes or more` });
  if (own === wanted) return undefined;
  if (target.type !== "file")
    throw new NotSupportedError({
      capability: "moving a disk to a larger one that is no file",
      remedy: "Give a target of the disk's own size, and extend it afterwards.",
    });
  return own;
}

/** Gives the target the disk's size. */
export async function fitTarget({ to, ownBytes }: DiskMove, visibleBytes: number): Promise<void> {
  if (ownBytes === undefined || to.type !== "file") return;
  await setSize(to, visibleBytes + (await luksHeaderBytes(to)));
}

/** Gives the target its own size back, where the guest has not gone over to it. Repeatable; success when it is gone. */
export async function giveBackSize({ to, ownBytes }: DiskMove): Promise<void> {
  if (ownBytes === undefined || to.type !== "file") return;
  await setSize(to, ownBytes);
}

/** Shows the guest that has gone over to the target all of it. Repeatable. @throws LibvirtError */
export async function growToOwnSize(
  { domain, host }: GuestCore,
  target: string,
  { to, ownBytes }: DiskMove,
): Promise<void> {
  if (ownBytes === undefined) return;
  const size = ownBytes - (await luksHeaderBytes(to));
  await domain.blockResize(target, size, { flags: ["bytes"], deadlineMs: host.timeouts.callMs });
}

/** Bytes of a local source: those that it takes, or those that a guest sees where it is a qcow2 file. */
async function ownBytesOf(source: DiskSource): Promise<number | undefined> {
  if (source.type !== "file" && source.type !== "block") return undefined;
  const { path, format } = source;
  try {
    if (format === "qcow2") return await qcow2Bytes(path);
    return source.type === "file" ? (await stat(path)).size : await deviceBytes(path);
  } catch (cause) {
    throw new HostIoError({ operation: "looking at a disk", path, cause });
  }
}

async function qcow2Bytes(path: string): Promise<number> {
  const size = Buffer.alloc(8);
  const file = await open(path, "r");
  try {
    await file.read(size, 0, size.length, QCOW2_SIZE_OFFSET);
  } finally {
    await file.close();
  }
  return Number(size.readBigUInt64BE());
}

async function writeQcow2Size(path: string, bytes: number): Promise<void> {
  const size = Buffer.alloc(8);
  size.writeBigUInt64BE(BigInt(bytes));
  const file = await open(path, "r+");
  try {
    await file.write(size, 0, size.length, QCOW2_SIZE_OFFSET);
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** As the kernel numbers block devices. */
async function deviceBytes(path: string): Promise<number> {
  const { rdev } = await stat(path);
  const major = Math.floor(rdev / 256) & 0xfff;
  const minor = (rdev & 0xff) | (Math.floor(rdev / 4096) & 0xfff00);
  return Number((await readFile(`/sys/dev/block/${major}:${minor}/size`, "utf8")).trim()) * SECTOR_BYTES;
}

/** Of a qcow2 file only its header says the size; its tables may be larger than it needs. */
async function setSize({ path, format }: Extract<DiskSource, { readonly type: "file" }>, bytes: number): Promise<void> {
  const set = format === "qcow2" ? writeQcow2Size(path, bytes) : truncate(path, bytes);
  await set.catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return;
    throw new HostIoError({ operation: "resizing a file", path, cause });
  });
}

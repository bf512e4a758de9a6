/** Where a VHDX file keeps its blocks, read as far as it takes to see that all of them are in the file (MS-VHDX 2). */
import type { FileHandle } from "node:fs/promises";
import { ImageUnacceptableError } from "../errors.js";

const KIB = 1024;
const MIB = 1024 * KIB;
const REGION_TABLES = [192 * KIB, 256 * KIB] as const;
const TABLE_BYTES = 64 * KIB;
const MAX_REGIONS = 2047;
const REGION_BAT = "6677c22d23f600429d64115e9bfd4a08";
const REGION_METADATA = "06a27c8b90479a4bb8fe575f050f886e";
const ITEM_FILE_PARAMETERS = "3767a1ca36fa434db3b633f0aa44e76b";
const HAS_PARENT = 2;
const FULLY_PRESENT = 6;
const PARTIALLY_PRESENT = 7;
/** Of the largest disk there is, 64 TiB in blocks of 1 MiB, with its bitmaps. */
const MAX_BAT_BYTES = 1024 * MIB;
const CHUNK_BYTES = MIB;

/** @throws ImageUnacceptableError when the file is no VHDX, stands on another, or lacks some of what it says that it holds. */
export async function checkVhdxLayout(file: FileHandle, sizeBytes: number): Promise<void> {
  const signature = await readAt(file, 0, 8);
  if (signature.toString("latin1") !== "vhdxfile") throw unacceptable("it is not a VHDX image");
  const regions = await readRegions(file);
  const [bat, metadata] = [regions.get(REGION_BAT), regions.get(REGION_METADATA)];
  if (bat === undefined || metadata === undefined) throw unacceptable("its VHDX region table is damaged");
  const blockBytes = await readBlockBytes(file, metadata.offset);
  for (let at = 0; at < bat.length; at += CHUNK_BYTES) {
    const entries = await readAt(file, bat.offset + at, Math.min(CHUNK_BYTES, bat.length - at));
    for (let entry = 0; entry + 8 <= entries.length; entry += 8) {
      const state = entries.readUInt32LE(entry) & 7;
      if (state !== FULLY_PRESENT && state !== PARTIALLY_PRESENT) continue;
      const offset = Number(entries.readBigUInt64LE(entry) >> 20n) * MIB;
      if (offset + blockBytes > sizeBytes) throw unacceptable("it is damaged or cut short");
    }
  }
}

interface Region {
  readonly offset: number;
  readonly length: number;
}

async function readRegions(file: FileHandle): Promise<ReadonlyMap<string, Region>> {
  for (const at of REGION_TABLES) {
    const table = await readAt(file, at, TABLE_BYTES).catch(() => Buffer.alloc(0));
    if (table.toString("latin1", 0, 4) !== "regi") continue;
    const count = table.readUInt32LE(8);
    if (count > MAX_REGIONS) continue;
    const regions = new Map<string, Region>();
    for (let at = 16; at < 16 + count * 32; at += 32) {
      const region = { offset: Number(table.readBigUInt64LE(at + 16)), length: table.readUInt32LE(at + 24) };
      if (region.length > MAX_BAT_BYTES || !Number.isSafeInteger(region.offset))
        throw unacceptable("its VHDX region table is damaged");
      regions.set(table.toString("hex", at, at + 16), region);
    }
    return regions;
  }
  throw unacceptable("its VHDX region table is damaged");
}

async function readBlockBytes(file: FileHandle, offset: number): Promise<number> {
  const table = await readAt(file, offset, TABLE_BYTES);
  const count = table.toString("latin1", 0, 8) === "metadata" ? table.readUInt16LE(10) : 0;
  for (let at = 32; at < 32 + Math.min(count, MAX_REGIONS) * 32; at += 32) {
    if (table.toString("hex", at, at + 16) !== ITEM_FILE_PARAMETERS) continue;
    const parameters = await readAt(file, offset + table.readUInt32LE(at + 16), 8);
    if ((parameters.readUInt32LE(4) & HAS_PARENT) !== 0) throw unacceptable("it is a VHDX that depends on another");
    const blockBytes = parameters.readUInt32LE(0);
    if (blockBytes >= MIB && blockBytes <= 256 * MIB) return blockBytes;
  }
  throw unacceptable("its VHDX metadata are damaged");
}

/** @throws ImageUnacceptableError when the file ends before. */
async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, offset);
  if (bytesRead < length) throw unacceptable("it is damaged or cut short");
  return buffer;
}

function unacceptable(why: string): ImageUnacceptableError {
  return new ImageUnacceptableError(`the image can't be used: ${why}`);
}

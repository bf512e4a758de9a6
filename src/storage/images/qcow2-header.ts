/** The header of a qcow2 file, read without letting any program open what it refers to. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { ImageUnacceptableError } from "../errors.js";

export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly virtualSizeBytes: number;
  readonly clusterSizeBytes: number;
  /** As it stands in the file: a path, relative to the file's directory when not absolute, or something that QEMU takes for a URI. */
  readonly backingFile?: string;
  readonly backingFormat?: string;
  /** Guest data lie in another file. */
  readonly externalDataFile: boolean;
  readonly encrypted: boolean;
  /** QEMU found it damaged and marked it. */
  readonly corrupt: boolean;
  readonly internalSnapshots: number;
}

const MAGIC = 0x514649fb;
const EXTENSION_BACKING_FORMAT = 0xe2792aca;
const EXTENSION_DATA_FILE = 0x44415441;
const INCOMPATIBLE_CORRUPT = 1n << 1n;
const INCOMPATIBLE_DATA_FILE = 1n << 2n;
/** Dirty, corrupt, data file, compression type, extended L2: what this reader knows (and QEMU opens). */
const INCOMPATIBLE_KNOWN = 0b11111n;
const MAX_CLUSTER_BYTES = 2 * 1024 * 1024;
const V2_BYTES = 72;
const V3_BYTES = 104;
const MAX_BACKING_NAME = 1023;
const MAX_EXTENSIONS = 64;

/**
 * Reads the header that the first bytes of a file hold: its first cluster, or all that there is of it.
 * @throws ImageUnacceptableError when it is none, or one that contradicts itself.
 */
export function parseQcow2Header(bytes: Buffer): Qcow2Header {
  if (bytes.length < V2_BYTES || bytes.readUInt32BE(0) !== MAGIC) throw unacceptable("it is not a qcow2 file");
  const version = bytes.readUInt32BE(4);
  if (version !== 2 && version !== 3) throw unacceptable(`qcow2 version ${version} is unknown`);
  const clusterBits = bytes.readUInt32BE(20);
  if (clusterBits < 9 || clusterBits > 21) throw unacceptable("its cluster size is out of range");
  const virtualSize = bytes.readBigUInt64BE(24);
  if (virtualSize > BigInt(Number.MAX_SAFE_INTEGER)) throw unacceptable("its virtual size is out of range");
  if (version === 3 && bytes.length < V3_BYTES) throw unacceptable("its header is cut short");
  const incompatible = version === 3 ? bytes.readBigUInt64BE(72) : 0n;
  if ((incompatible & ~INCOMPATIBLE_KNOWN) !== 0n) throw unacceptable("it uses qcow2 features that are unknown");
  const headerLength = version === 3 ? bytes.readUInt32BE(100) : V2_BYTES;
  if (headerLength < (version === 3 ? V3_BYTES : V2_BYTES)) throw unacceptable("its header length is out of range");

  const clusterSizeBytes = 2 ** clusterBits;
  const backing = backingNameOf(bytes, clusterSizeBytes);
  const extensions = readExtensions(
    bytes,
    headerLength,
    Math.min(backing?.offset ?? clusterSizeBytes, clusterSizeBytes),
  );
  const backingFormat = extensions.get(EXTENSION_BACKING_FORMAT);
  return {
    version,
    virtualSizeBytes: Number(virtualSize),
    clusterSizeBytes,
    ...(backing === undefined ? {} : { backingFile: backing.name }),
    ...(backingFormat === undefined ? {} : { backingFormat }),
    externalDataFile: (incompatible & INCOMPATIBLE_DATA_FILE) !== 0n || extensions.has(EXTENSION_DATA_FILE),
    encrypted: bytes.readUInt32BE(32) !== 0,
    corrupt: (incompatible & INCOMPATIBLE_CORRUPT) !== 0n,
    internalSnapshots: bytes.readUInt32BE(60),
  };
}

/** {@link parseQcow2Header} of a file. Also throws what opening and reading it throws. */
export async function readQcow2Header(path: string): Promise<Qcow2Header> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const start = Buffer.alloc(V3_BYTES);
    const { bytesRead } = await file.read(start, 0, V3_BYTES, 0);
    const clusterBits = bytesRead < V2_BYTES ? 0 : start.readUInt32BE(20);
    const wanted = clusterBits > 9 && clusterBits <= 21 ? 2 ** clusterBits : 512;
    const bytes = Buffer.alloc(Math.min(wanted, MAX_CLUSTER_BYTES));
    const { bytesRead: got } = await file.read(bytes, 0, bytes.length, 0);
    return parseQcow2Header(bytes.subarray(0, got));
  } finally {
    await file.close();
  }
}

function backingNameOf(
  bytes: Buffer,
  clusterSize: number,
): { readonly name: string; readonly offset: number } | undefined {
  const offset = bytes.readBigUInt64BE(8);
  const length = bytes.readUInt32BE(16);
  if (offset === 0n) return undefined;
  const end = offset + BigInt(length);
  if (length > MAX_BACKING_NAME || end > BigInt(clusterSize))
    throw unacceptable("the name of its backing file is out of range");
  if (end > BigInt(bytes.length)) throw unacceptable("its header is cut short");
  return { name: bytes.toString("utf8", Number(offset), Number(end)), offset: Number(offset) };
}

function readExtensions(bytes: Buffer, start: number, end: number): Map<number, string> {
  const found = new Map<number, string>();
  const limit = Math.min(end, bytes.length);
  for (let at = start, count = 0; at + 8 <= limit; count++) {
    const type = bytes.readUInt32BE(at);
    const length = bytes.readUInt32BE(at + 4);
    if (type === 0) return found;
    if (count >= MAX_EXTENSIONS || at + 8 + length > limit)
      throw unacceptable("its header extensions are out of range");
    const isText = type === EXTENSION_BACKING_FORMAT || type === EXTENSION_DATA_FILE;
    found.set(type, isText ? bytes.toString("utf8", at + 8, at + 8 + length) : "");
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return found;
}

function unacceptable(why: string): ImageUnacceptableError {
  return new ImageUnacceptableError(`the image can't be used: ${why}`);
}

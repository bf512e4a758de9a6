/** What a qcow2 file says of itself in its header (docs/interop/qcow2.txt): its size, and the file that it is based on. */
import { open } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { HostIoError } from "../../../host/index.js";
import { StorageError } from "../../../storage/index.js";

const MAGIC = 0x514649fb;
/** Type of the header extension with the format of the file below. */
const BACKING_FORMAT = 0xe2792aca;
const MAX_BACKING_BYTES = 1023;
/** Header, extensions and the name of the file below are in the first cluster; the smallest that libvirt and QEMU make are of 512 bytes, the largest of 2 MiB. */
const READ_BYTES = 65_536;
const VERSION_2_HEADER_BYTES = 72;

export interface Overlay {
  /** What a guest sees. */
  readonly sizeBytes: number;
  /** Absolute path; absent for a file that is based on none. */
  readonly backing?: string;
  /** As the file says it. */
  readonly backingName?: string;
  readonly backingFormat?: string;
}

/** @throws StorageError for what is no qcow2 file; HostIoError */
export async function readOverlay(path: string): Promise<Overlay> {
  const head = await readHead(path);
  const bad = (detail: string): never => {
    throw new StorageError("the file is no qcow2 image", { detail: `${path}: ${detail}` });
  };
  if (head.length < VERSION_2_HEADER_BYTES || head.readUInt32BE(0) !== MAGIC) return bad("no header");
  const sizeBytes = Number(head.readBigUInt64BE(24));
  const offset = Number(head.readBigUInt64BE(8));
  const length = head.readUInt32BE(16);
  if (offset === 0) return { sizeBytes };
  if (length === 0 || length > MAX_BACKING_BYTES || offset + length > head.length) return bad("no name where it says");
  const name = head.toString("utf8", offset, offset + length);
  const backingFormat = extensionOf(head, BACKING_FORMAT);
  return {
    sizeBytes,
    backing: resolve(dirname(path), name),
    backingName: name,
    ...(backingFormat === undefined ? {} : { backingFormat }),
  };
}

function extensionOf(head: Buffer, wanted: number): string | undefined {
  const version = head.readUInt32BE(4);
  let at = version >= 3 && head.length >= 104 ? head.readUInt32BE(100) : VERSION_2_HEADER_BYTES;
  while (at + 8 <= head.length) {
    const type = head.readUInt32BE(at);
    const length = head.readUInt32BE(at + 4);
    const end = at + 8 + length;
    if (type === 0 || end > head.length) return undefined;
    if (type === wanted) return head.toString("ascii", at + 8, end);
    at = at + 8 + Math.ceil(length / 8) * 8;
  }
  return undefined;
}

async function readHead(path: string): Promise<Buffer> {
  const head = Buffer.alloc(READ_BYTES);
  try {
    const file = await open(path, "r");
    try {
      const { bytesRead } = await file.read(head, 0, head.length, 0);
      return head.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new HostIoError({ operation: "reading a disk", path, cause });
  }
}

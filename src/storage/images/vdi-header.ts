/** The header of a VDI file, as far as it tells whether the file is whole. */
import { ImageUnacceptableError } from "../errors.js";

const HEADER_BYTES = 512;
const SIGNATURE = 0xbeda107f;
const DYNAMIC = 1;
const STATIC = 2;

export const VDI_HEADER_BYTES = HEADER_BYTES;

/**
 * The least bytes that a file with this header has.
 * @throws ImageUnacceptableError when it is no VDI header, or one of an image that stands on another.
 */
export function vdiFileBytes(header: Buffer): number {
  if (header.length < HEADER_BYTES || header.readUInt32LE(0x40) !== SIGNATURE)
    throw unacceptable("it is not a VDI image");
  const type = header.readUInt32LE(0x4c);
  if (type !== DYNAMIC && type !== STATIC) throw unacceptable("it is a VDI that depends on another");
  const blockBytes = header.readUInt32LE(0x178) + header.readUInt32LE(0x17c);
  return header.readUInt32LE(0x158) + header.readUInt32LE(0x184) * blockBytes;
}

function unacceptable(why: string): ImageUnacceptableError {
  return new ImageUnacceptableError(`the image can't be used: ${why}`);
}

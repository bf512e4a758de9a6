/** Pictures of screens: from the portable pixmaps that older hypervisors give to PNG, which everything shows. */
import { crc32, deflateSync } from "node:zlib";
import { InvalidArgumentError } from "../core/index.js";

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
/** `P6`, width, height and the largest value, apart by white space, in which comments may be. */
const HEADER = /^P6(?:\s|#[^\n]*\n)+(\d{1,5})(?:\s|#[^\n]*\n)+(\d{1,5})(?:\s|#[^\n]*\n)+255\s/;
const HEADER_BYTES = 512;
const BYTES_PER_PIXEL = 3;
const BITS = 8;
const TRUE_COLOUR = 2;

/** The same picture as PNG. @throws InvalidArgumentError for what is no pixmap of 3 bytes a pixel, or not a whole one */
export function pngOfPixmap(pixmap: Uint8Array): Buffer {
  const bytes = Buffer.from(pixmap.buffer, pixmap.byteOffset, pixmap.byteLength);
  const [header = "", width = "0", height = "0"] = HEADER.exec(bytes.toString("latin1", 0, HEADER_BYTES)) ?? [];
  const [columns, rows] = [Number(width), Number(height)];
  const stride = columns * BYTES_PER_PIXEL;
  if (columns === 0 || rows === 0 || bytes.length - header.length < stride * rows)
    throw new InvalidArgumentError({
      field: "pixmap",
      value: `${bytes.length} bytes`,
      expected: "a whole pixmap of 3 bytes a pixel",
    });
  // Each line says first how it was filtered: not at all.
  const lines = Buffer.alloc((stride + 1) * rows);
  for (let row = 0; row < rows; row++)
    bytes.copy(lines, row * (stride + 1) + 1, header.length + row * stride, header.length + (row + 1) * stride);
  const shape = Buffer.alloc(13);
  shape.writeUInt32BE(columns, 0);
  shape.writeUInt32BE(rows, 4);
  shape.writeUInt8(BITS, 8);
  shape.writeUInt8(TRUE_COLOUR, 9);
  return Buffer.concat([
    SIGNATURE,
    chunk("IHDR", shape),
    chunk("IDAT", deflateSync(lines)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const whole = Buffer.alloc(body.length + 8);
  whole.writeUInt32BE(data.length, 0);
  body.copy(whole, 4);
  whole.writeUInt32BE(crc32(body), body.length + 4);
  return whole;
}

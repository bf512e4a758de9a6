/** Reads a PNG as far as it takes to know that it is one: signature, checksums, and as many rows as the header promises. */
import { crc32, inflateSync } from "node:zlib";

const SIGNATURE = "89504e470d0a1a0a";
const SAMPLES: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

/** @throws Error that says what is wrong with it */
export function readPng(bytes: Uint8Array): { readonly width: number; readonly height: number } {
  const file = Buffer.from(bytes);
  if (file.subarray(0, 8).toString("hex") !== SIGNATURE) throw new Error("not a PNG: no signature");
  const chunks = [...chunksOf(file.subarray(8))];
  const header = chunks[0];
  if (header?.type !== "IHDR" || header.data.length !== 13) throw new Error("not a PNG: no header");
  if (chunks.at(-1)?.type !== "IEND") throw new Error("the PNG is cut short");
  const width = header.data.readUInt32BE(0);
  const height = header.data.readUInt32BE(4);
  const bitsPerPixel = (SAMPLES[header.data[9] ?? 0] ?? 0) * (header.data[8] ?? 0);
  const pixels = inflateSync(Buffer.concat(chunks.filter(({ type }) => type === "IDAT").map(({ data }) => data)));
  const expected = (1 + Math.ceil((width * bitsPerPixel) / 8)) * height;
  if (width === 0 || height === 0 || pixels.length !== expected)
    throw new Error("the PNG's size is not what its header says");
  return { width, height };
}

function* chunksOf(file: Buffer): Generator<{ readonly type: string; readonly data: Buffer }> {
  for (let at = 0; at + 12 <= file.length;) {
    const length = file.readUInt32BE(at);
    const body = file.subarray(at + 4, at + 8 + length);
    if (at + 12 + length > file.length || crc32(body) !== file.readUInt32BE(at + 8 + length))
      throw new Error("the PNG is damaged");
    yield { type: body.toString("latin1", 0, 4), data: body.subarray(4) };
    at += 12 + length;
  }
}

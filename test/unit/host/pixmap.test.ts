import { inflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { pngOfPixmap } from "../../../src/host/index.js";

const pixmap = (header: string, pixels: readonly number[]): Buffer =>
  Buffer.concat([Buffer.from(header), Buffer.from(pixels)]);

/** The parts of a PNG by their types. */
function partsOf(png: Buffer): Map<string, Buffer> {
  const parts = new Map<string, Buffer>();
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    parts.set(png.toString("latin1", at + 4, at + 8), png.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  return parts;
}

describe("a portable pixmap", () => {
  it.each(["P6\n2 2\n255\n", "P6 2 2 255 ", "P6\n# by a screen\n2\t2\n#\n255\n"])("becomes a PNG: %j", (header) => {
    const png = pngOfPixmap(pixmap(header, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]));
    expect(png.subarray(0, 8)).toEqual(Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]));
    const parts = partsOf(png);
    expect([...parts.keys()]).toEqual(["IHDR", "IDAT", "IEND"]);
    expect([...parts.get("IHDR")!]).toEqual([0, 0, 0, 2, 0, 0, 0, 2, 8, 2, 0, 0, 0]);
    expect([...inflateSync(parts.get("IDAT")!)]).toEqual([0, 1, 2, 3, 4, 5, 6, 0, 7, 8, 9, 10, 11, 12]);
    // Sums as other programs make them.
    expect(png.readUInt32BE(png.length - 4)).toBe(0xae426082);
  });

  it.each([
    ["nothing", ""],
    ["another kind", "P5\n2 2\n255\n"],
    ["two bytes a colour", "P6\n2 2\n65535\n"],
    ["too few pixels", "P6\n2 3\n255\n"],
    ["no pixels", "P6\n0 0\n255\n"],
  ])("is refused: %s", (_what, header) => {
    expect(() => pngOfPixmap(pixmap(header, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]))).toThrow(/whole pixmap/);
  });
});

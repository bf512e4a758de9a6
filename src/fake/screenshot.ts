/** A picture of a simulated guest's display: a PNG made in memory, with its name's colours and bars that tell guests apart. */
import { crc32, deflateSync } from "node:zlib";
import type { Screenshot } from "../driver/index.js";
import type { GuestRecord } from "./guest-record.js";

const WIDTH = 320;
const HEIGHT = 200;
const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** Rows of palette indices: a frame, and one bar for each hexadecimal digit of the uuid. */
export function drawScreenshot(record: GuestRecord): Screenshot {
  const digits = [...record.definition.uuid.replaceAll("-", "")].map((digit) => parseInt(digit, 16));
  const rows = Buffer.alloc((WIDTH + 1) * HEIGHT);
  for (let y = 0; y < HEIGHT; y++) {
    for (let x = 0; x < WIDTH; x++) rows[y * (WIDTH + 1) + 1 + x] = pixel(x, y, digits, record.state === "paused");
  }
  return { mediaType: "image/png", bytes: new Uint8Array(png(rows)) };
}

function pixel(x: number, y: number, digits: readonly number[], dimmed: boolean): number {
  if (x < 4 || y < 4 || x >= WIDTH - 4 || y >= HEIGHT - 4) return dimmed ? 2 : 1;
  const digit = digits[Math.floor((x * digits.length) / WIDTH)] ?? 0;
  return HEIGHT - y < (HEIGHT * (digit + 1)) / 18 ? 3 + digit : 0;
}

function png(rows: Buffer): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(WIDTH, 0);
  header.writeUInt32BE(HEIGHT, 4);
  header.set([8, 3, 0, 0, 0], 8);
  const bars = Array.from({ length: 16 }, (_, digit) => [digit * 16, 255 - digit * 12, 128 + digit * 4]);
  const palette = Buffer.from([[0, 0, 0], [240, 240, 240], [110, 110, 110], ...bars].flat());
  return Buffer.concat([
    SIGNATURE,
    chunk("IHDR", header),
    chunk("PLTE", palette),
    chunk("IDAT", deflateSync(rows)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const check = Buffer.alloc(4);
  check.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, check]);
}

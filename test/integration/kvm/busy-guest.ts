// A guest of 512 bytes that never rests: it writes to half a megabyte again and again, faster than a slow migration copies, and says the
// letters of the alphabet on its console, one after the other. What it says on two hosts, put together, shows whether it was one guest.
import { writeFile } from "node:fs/promises";

// 16-bit code at 0x7c00; bx counts rounds over segments 0x1000 to 0x8000, one store a page, and ah is the next letter.
const CODE = [
  "fa31c08ed88ed0bc007cfc", // stack, segments
  "baf80331dbb461", //         dx: serial port; ah: 'a'
  "b90010", //           0x12: mov cx, 0x1000
  "8ec131ff", //         0x15: mov es, cx; xor di, di
  "26891d81c7001075f7", // 0x19: mov [es:di], bx; next page
  "81c1001081f9009072e9", //   next segment
  "e492340224fee692", //       the A20 line off and on: TCG then looks up every page anew, and notices that it is written
  "43f7c3ff0f75d7", //         inc bx; every 4,096 rounds a letter
  "88e0eefec480fc7b72cdb461ebc9",
].join("");

// Another, of 166 bytes, that fills 20 MiB from the fourth MiB on, each word with its own address, by 32-bit addresses in 16-bit mode. Then it looks at
// each page and says a letter, again and again: a page that is not as it was written makes it say `!` and stop.
const FULL_CODE = [
  "fa31c08ed88ed0bc007cfc0f0116a07c", //                       stack, segments, lgdt
  "0f20c00c010f22c0eb00bb08008ec324fe0f22c0eb0031c08ec0", //   es: 4 GiB, by protected mode and back
  "e4920c0224fee692", //                                       the A20 line on
  "66bf00004000266766893f6683c7046681ff0000800172ee", //       fill
  "baf803b461", //                                             dx: serial port; ah: 'a'
  "66bf00004000266766393f75296681c7001000006681ff0000800172e9", // look at all pages
  "88e0eefec480fc7b7502b461bb2800b9ffffe2fe4b75f8ebca", //     a letter, a while, and again
  "b021eef4ebfd8db40000900000000000000000ffff00000092cf000f00907c0000", // '!'; the table of segments
].join("");

// One that does nothing but say the letters, as fast as it can.
const CHATTY_CODE = [
  "fa31c08ed88ed0bc007cfc", // stack, segments
  "baf803b061", //             dx: serial port; al: 'a'
  "eefec03c7b72f9b061ebf5", // a letter, and the next
].join("");

/** Writes the disk of the guest that says letters as fast as it can. */
export function writeChattyGuest(path: string): Promise<string> {
  return writeGuest(path, CHATTY_CODE);
}

/** Writes the guest's disk. */
export function writeBusyGuest(path: string): Promise<string> {
  return writeGuest(path, CODE);
}

/** Writes the disk of the guest that has 20 MiB to keep. It wants 32 MiB of memory. */
export function writeFullGuest(path: string): Promise<string> {
  return writeGuest(path, FULL_CODE);
}

async function writeGuest(path: string, code: string): Promise<string> {
  const image = Buffer.alloc(1024 * 1024);
  Buffer.from(code, "hex").copy(image);
  image.writeUInt16LE(0xaa55, 510);
  await writeFile(path, image);
  return path;
}

/** Whether the letters follow each other without one missing, or said twice. */
export function isAlphabet(said: string): boolean {
  return [...said].every((letter, i) => letter.charCodeAt(0) - 97 === i % 26);
}

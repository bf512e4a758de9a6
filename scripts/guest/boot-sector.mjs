// A guest of 512 bytes, for tests that need a running machine but no operating system: it says HV-BOOT on the first serial port,
// echoes what it receives there, powers the machine off on Ctrl-D, resets it on Ctrl-R, and ignores the power button. It runs under
// every accelerator, and is up a tenth of a second after the machine.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { cacheDirectory } from "../lib/cache-directory.mjs";

const SECTOR_BYTES = 512;
const MESSAGE_AT = 0x60;
const DEFAULT_SIZE_BYTES = 1024 * 1024;

/** Ctrl-D and Ctrl-R: what the guest obeys instead of echoing. */
export const POWER_OFF_KEY = "\u0004";
export const RESET_KEY = "\u0012";

// 16-bit code at 0x7c00. 0x604 is where SeaBIOS puts ACPI's PM1a control register; 0x2000 there asks for state S5.
const CODE = [
  [0xfa], //                    cli
  [0x31, 0xc0], //              xor ax, ax
  [0x8e, 0xd8], //              mov ds, ax
  [0x8e, 0xd0], //              mov ss, ax
  [0xbc, 0x00, 0x7c], //        mov sp, 0x7c00
  [0xfc], //                    cld
  [0xfb], //                    sti
  [0xbe, 0x60, 0x7c], //        mov si, message
  [0xba, 0xf8, 0x03], //        mov dx, 0x3f8
  [0xac], //              0x12: lodsb
  [0x84, 0xc0], //              test al, al
  [0x74, 0x03], //              jz 0x1a
  [0xee], //                    out dx, al
  [0xeb, 0xf8], //              jmp 0x12
  [0xba, 0xfd, 0x03], //  0x1a: mov dx, 0x3fd
  [0xec], //                    in al, dx
  [0xa8, 0x01], //              test al, 1
  [0x75, 0x03], //              jnz 0x25
  [0xf4], //                    hlt (the timer wakes it 18 times a second)
  [0xeb, 0xf5], //              jmp 0x1a
  [0xba, 0xf8, 0x03], //  0x25: mov dx, 0x3f8
  [0xec], //                    in al, dx
  [0x3c, 0x04], //              cmp al, 4 (Ctrl-D)
  [0x74, 0x07], //              je 0x34
  [0x3c, 0x12], //              cmp al, 18 (Ctrl-R)
  [0x74, 0x0c], //              je 0x3d
  [0xee], //                    out dx, al
  [0xeb, 0xe6], //              jmp 0x1a
  [0xba, 0x04, 0x06], //  0x34: mov dx, 0x604
  [0xb8, 0x00, 0x20], //        mov ax, 0x2000
  [0xef], //                    out dx, ax
  [0xeb, 0xdd], //              jmp 0x1a
  [0xba, 0xf9, 0x0c], //  0x3d: mov dx, 0xcf9
  [0xb0, 0x06], //              mov al, 6
  [0xee], //                    out dx, al
  [0xeb, 0xd5], //              jmp 0x1a
].flat();

/**
 * @param {{ message?: string, sizeBytes?: number }} [options] `message`: at most 400 bytes, no NUL.
 * @returns {Buffer} A raw disk image.
 */
export function bootSectorImage({ message = "HV-BOOT\r\n", sizeBytes = DEFAULT_SIZE_BYTES } = {}) {
  const text = Buffer.from(`${message}\0`, "latin1");
  if (text.length > SECTOR_BYTES - 2 - MESSAGE_AT) throw new RangeError("the boot sector's message is too long");
  if (sizeBytes < SECTOR_BYTES || sizeBytes % SECTOR_BYTES !== 0)
    throw new RangeError("a disk is made of 512-byte sectors");
  const image = Buffer.alloc(sizeBytes);
  Buffer.from(CODE).copy(image, 0);
  text.copy(image, MESSAGE_AT);
  image.writeUInt16LE(0xaa55, SECTOR_BYTES - 2);
  return image;
}

/**
 * Writes the default image to the cache, whole or not at all.
 *
 * @returns {string} Path of a raw image; shared, so start guests from an overlay or a copy.
 */
export function ensureBootSector() {
  const path = join(cacheDirectory(), "guest", "boot-sector.raw");
  const image = bootSectorImage();
  if (existsSync(path) && readFileSync(path).equals(image)) return path;
  mkdirSync(dirname(path), { recursive: true });
  const staged = `${path}.${process.pid}`;
  writeFileSync(staged, image);
  renameSync(staged, path);
  return path;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.stdout.write(`${ensureBootSector()}\n`);
}

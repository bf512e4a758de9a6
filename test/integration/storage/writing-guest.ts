// A guest of 512 bytes that reads and writes its disk: it says what stands in the second and third sector of the disk it boots
// from, copies the second over the third, and says so. Booted again, it says the second sector's text twice.

const SECTOR = 512;
const ORIGIN = 0x7c00;
/** Places after the beginning of the code. */
const PRINT = 0x60;
const FAIL = 0x50;
const HALT = 0x4c;
const PACKET = 0x80;
const DONE = 0x90;
const FAILED = 0xa0;

/** A raw disk image with that guest; `text` is what its second sector says. */
export function writingGuest(text: string, sizeBytes: number, codeAt = 0): Buffer {
  const image = Buffer.alloc(sizeBytes);
  code(ORIGIN + codeAt).copy(image, codeAt);
  // Two sectors, from the second on, to 0x8000.
  Buffer.from([0x10, 0, 2, 0, 0x00, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).copy(image, codeAt + PACKET);
  image.write(" WROTE\r\n\0", codeAt + DONE, "latin1");
  image.write(" FAILED\r\n\0", codeAt + FAILED, "latin1");
  image.writeUInt16LE(0xaa55, SECTOR - 2);
  image.write(`[${text}]\0`, SECTOR, "latin1");
  return image;
}

/**
 * The same guest, in a raw image that is a qcow2 file with a backing file as well: its header is code that leads to the
 * guest's. Whoever takes the image for what its bytes say boots from the backing file.
 */
export function guestInQcow2Header(text: string, sizeBytes: number, backingFile: string): Buffer {
  const [codeAt, nameAt, nameBytes] = [0x50, 0x800, 0xc8];
  const image = writingGuest(text, sizeBytes, codeAt);
  image.writeUInt32BE(0x514649fb, 0); //                       push cx; inc si; dec cx; sti
  image.writeUInt32BE(2, 4); //                                additions to memory that nobody needs, here and below
  image.writeBigUInt64BE(BigInt(nameAt), 8);
  image.writeUInt32BE(nameBytes, 16);
  image.writeUInt32BE(16, 20);
  image.writeBigUInt64BE(BigInt(0xeb00_0000 + ((codeAt - 30) << 16)), 24); // the size of the disk: jmp to the code
  image.writeUInt32BE(8, 36);
  image.writeBigUInt64BE(0x20000n, 40);
  image.writeBigUInt64BE(0x10000n, 48);
  image.writeUInt32BE(1, 56);
  image.write(backingFile.padStart(nameBytes, "/"), nameAt, "latin1");
  return image;
}

// 16-bit code at 0x7c00; the BIOS hands over the number of the disk in dl.
function code(origin: number): Buffer {
  const bytes: number[] = [];
  const place = (at: number): readonly number[] => word(origin + at);
  const at = (): number => bytes.length;
  const put = (...more: readonly (number | readonly number[])[]): void => void bytes.push(...more.flat());
  const jump = (opcode: number, to: number): void => put(opcode, (to - at() - 2) & 0xff);
  const call = (to: number): void => put(0xe8, word(to - at() - 3));
  const say = (text: readonly number[]): void => {
    put(0xbe, text); //                mov si, text
    call(PRINT);
  };
  const pad = (to: number): void => put(Array.from({ length: to - at() }, () => 0x90));

  put(0xfa, 0x31, 0xc0, 0x8e, 0xd8); // cli; xor ax, ax; mov ds, ax
  put(0x8e, 0xc0, 0x8e, 0xd0); //      mov es, ax; mov ss, ax
  put(0xbc, 0x00, 0x7c, 0xfc, 0xfb); // mov sp, 0x7c00; cld; sti
  put(0xbe, place(PACKET), 0xb4, 0x42); // mov si, packet; mov ah, 0x42 (read)
  put(0xcd, 0x13); //                  int 0x13
  jump(0x72, FAIL); //                 jc fail
  say(word(0x8000));
  say(word(0x8200));
  put(0xc6, 0x06, place(PACKET + 8), 2); // mov byte [packet + 8], 2: the third sector
  put(0xc6, 0x06, place(PACKET + 2), 1); // mov byte [packet + 2], 1: one sector
  put(0xbe, place(PACKET), 0xb8, 0x00, 0x43); // mov si, packet; mov ax, 0x4300 (write)
  put(0xcd, 0x13);
  jump(0x72, FAIL);
  say(place(DONE));
  pad(HALT);
  put(0xf4); //                        hlt
  jump(0xeb, HALT);
  pad(FAIL);
  say(place(FAILED));
  jump(0xeb, HALT);
  pad(PRINT);
  put(0x52, 0xba, 0xf8, 0x03); //      push dx; mov dx, 0x3f8
  put(0xac, 0x84, 0xc0, 0x74, 0x03); // lodsb; test al, al; jz over the next two
  put(0xee, 0xeb, 0xf8); //            out dx, al; jmp back to lodsb
  put(0x5a, 0xc3); //                  pop dx; ret
  if (at() > PACKET) throw new RangeError("the guest's code is too long");
  return Buffer.from(bytes);
}

function word(value: number): readonly number[] {
  return [value & 0xff, (value >> 8) & 0xff];
}

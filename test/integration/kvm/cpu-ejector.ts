// A guest of 512 bytes that lets go of every processor it is asked for, as an operating system does by ACPI: it says HV-EJECT on
// the serial port, then looks at the places of processors 3 to 1 again and again, and ejects where removal is asked for.

/** Where the registers of processor hot plug are on q35. */
const REGISTERS = 0x0cd8;

export function cpuEjector(): Buffer {
  const word = (value: number): number[] => [value & 0xff, value >> 8];
  const code = [
    ...[0xfa], //                                     cli
    ...[0xba, ...word(0x3f8)], //                     mov dx, 0x3f8
    ...[..."HV-EJECT\r\n"].flatMap((letter) => [0xb0, letter.charCodeAt(0), 0xee]), // mov al, letter; out dx, al
    ...[0xba, ...word(REGISTERS)], //                 mov dx, selector
    ...[0x66, 0x31, 0xc0, 0x66, 0xef], //             xor eax, eax; out dx, eax: the registers of today
  ];
  const loop = [
    ...[0xb9, 0x03, 0x00], //                         mov cx, 3
    ...[0xba, ...word(REGISTERS)], //           0x03: mov dx, selector
    ...[0x66, 0x0f, 0xb7, 0xc1, 0x66, 0xef], //       movzx eax, cx; out dx, eax
    ...[0xba, ...word(REGISTERS + 4)], //             mov dx, flags
    ...[0xec, 0xa8, 0x04], //                         in al, dx; test al, 4: removal is asked for
    ...[0x74, 0x03, 0xb0, 0x08, 0xee], //             jz over; mov al, 8; out dx, al: eject
    ...[0xe2, 0xea], //                               loop 0x03
    ...[0xeb, 0xe5], //                               jmp 0x00
  ];
  const image = Buffer.alloc(1_048_576);
  Buffer.from([...code, ...loop]).copy(image);
  image.writeUInt16LE(0xaa55, 510);
  return image;
}

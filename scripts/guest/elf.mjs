// Reads the two things that the builder asks of 64-bit little-endian ELF files: a named section, and the libraries a program needs.

const SHT_DYNAMIC = 6;
const DT_NEEDED = 1n;
const DT_NULL = 0n;

/**
 * @param {Buffer} elf
 * @returns {{ name: string, type: number, link: number, data: Buffer }[]}
 */
function sectionsOf(elf) {
  if (elf.readUInt32BE(0) !== 0x7f454c46 || elf[4] !== 2 || elf[5] !== 1) {
    throw new Error("not a 64-bit little-endian ELF file");
  }
  const offset = Number(elf.readBigUInt64LE(0x28));
  const entrySize = elf.readUInt16LE(0x3a);
  const count = elf.readUInt16LE(0x3c);
  const nameIndex = elf.readUInt16LE(0x3e);
  const headers = Array.from({ length: count }, (_, index) => {
    const at = offset + index * entrySize;
    const start = Number(elf.readBigUInt64LE(at + 0x18));
    const size = Number(elf.readBigUInt64LE(at + 0x20));
    return {
      nameAt: elf.readUInt32LE(at),
      type: elf.readUInt32LE(at + 4),
      link: elf.readUInt32LE(at + 0x28),
      data: elf.subarray(start, start + size),
    };
  });
  const names = headers[nameIndex]?.data ?? Buffer.alloc(0);
  return headers.map(({ nameAt, ...rest }) => ({ name: cString(names, nameAt), ...rest }));
}

function cString(buffer, at) {
  const end = buffer.indexOf(0, at);
  return buffer.toString("latin1", at, end < 0 ? buffer.length : end);
}

/**
 * The `key=value` records of a kernel module's .modinfo section.
 *
 * @param {Buffer} elf
 * @returns {Map<string, string[]>}
 */
export function moduleInfo(elf) {
  const section = sectionsOf(elf).find(({ name }) => name === ".modinfo");
  const info = new Map();
  for (const record of (section?.data ?? Buffer.alloc(0)).toString("latin1").split("\0")) {
    const equals = record.indexOf("=");
    if (equals < 0) continue;
    const key = record.slice(0, equals);
    info.set(key, [...(info.get(key) ?? []), record.slice(equals + 1)]);
  }
  return info;
}

/**
 * The sonames that a program or library is linked against.
 *
 * @param {Buffer} elf
 * @returns {string[]}
 */
export function neededLibraries(elf) {
  const sections = sectionsOf(elf);
  const dynamic = sections.find(({ type }) => type === SHT_DYNAMIC);
  const strings = dynamic && sections[dynamic.link];
  if (!dynamic || !strings) return [];
  const needed = [];
  for (let at = 0; at + 16 <= dynamic.data.length; at += 16) {
    const tag = dynamic.data.readBigUInt64LE(at);
    if (tag === DT_NULL) break;
    if (tag === DT_NEEDED) needed.push(cString(strings.data, Number(dynamic.data.readBigUInt64LE(at + 8))));
  }
  return needed;
}

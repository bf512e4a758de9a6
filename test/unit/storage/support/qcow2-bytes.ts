/** Builds the headers of qcow2 files, right and wrong ones. */

export interface Qcow2Parts {
  readonly version?: number;
  readonly clusterBits?: number;
  readonly virtualSizeBytes?: bigint | number;
  readonly backingFile?: string;
  readonly backingFormat?: string;
  readonly dataFile?: string;
  readonly incompatible?: bigint;
  readonly cryptMethod?: number;
  readonly snapshots?: number;
}

const HEADER_BYTES = 104;

export function qcow2Header(parts: Qcow2Parts = {}): Buffer {
  const { version = 3, clusterBits = 16, virtualSizeBytes = 1024 * 1024, backingFile, backingFormat, dataFile } = parts;
  const start = version === 2 ? 72 : HEADER_BYTES;
  const extensions = [
    ...(backingFormat === undefined ? [] : [extension(0xe2792aca, backingFormat)]),
    ...(dataFile === undefined ? [] : [extension(0x44415441, dataFile)]),
    Buffer.alloc(8),
  ];
  const backingAt = start + extensions.reduce((sum, part) => sum + part.length, 0);
  const header = Buffer.alloc(start);
  header.writeUInt32BE(0x514649fb, 0);
  header.writeUInt32BE(version, 4);
  if (backingFile !== undefined) {
    header.writeBigUInt64BE(BigInt(backingAt), 8);
    header.writeUInt32BE(Buffer.byteLength(backingFile), 16);
  }
  header.writeUInt32BE(clusterBits, 20);
  header.writeBigUInt64BE(BigInt(virtualSizeBytes), 24);
  header.writeUInt32BE(parts.cryptMethod ?? 0, 32);
  header.writeUInt32BE(parts.snapshots ?? 0, 60);
  if (version !== 2) {
    header.writeBigUInt64BE(parts.incompatible ?? 0n, 72);
    header.writeUInt32BE(HEADER_BYTES, 100);
  }
  return Buffer.concat([header, ...extensions, Buffer.from(backingFile ?? "")]);
}

function extension(type: number, text: string): Buffer {
  const length = Buffer.byteLength(text);
  const bytes = Buffer.alloc(8 + Math.ceil(length / 8) * 8);
  bytes.writeUInt32BE(type, 0);
  bytes.writeUInt32BE(length, 4);
  bytes.write(text, 8);
  return bytes;
}

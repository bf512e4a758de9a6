/** Decides whether a file is what its image record says, and nothing that could lead out of the file. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { isHyperviseError } from "../../core/index.js";
import { ImageUnacceptableError } from "../errors.js";
import type { ImageFormat } from "./image.js";
import type { TransferOptions } from "./image-store.js";
import { readQcow2Header } from "./qcow2-header.js";
import { qemuFormatOf } from "../qemu-img.js";
import type { QemuImg } from "../qemu-img.js";
import { VDI_HEADER_BYTES, vdiFileBytes } from "./vdi-header.js";
import { checkVhdxLayout } from "./vhdx-layout.js";

export interface InspectionOptions extends TransferOptions {
  /** Larger disks are refused. */
  readonly maxVirtualSizeBytes: number;
}

const SECTOR = 512;
/** Formats whose tables `qemu-img check` can hold against the file. */
const CHECKED: ReadonlySet<string> = new Set(["qcow2", "vmdk", "vdi", "vhdx"]);
const VMDK_DESCRIPTOR_MAX = 64 * 1024;
const VMDK_DIRECTORY_AT_END = 0xffff_ffff_ffff_ffffn;

/**
 * Resolves to the size of the disk that a guest sees. The file must not change while this reads it. Nothing that the file
 * refers to is opened: the headers are read here before `qemu-img` gets to see the file.
 * @throws ImageUnacceptableError when it is not of the format, is damaged, cut short, encrypted, too large, or refers to other files.
 */
export async function inspectImage(
  path: string,
  format: ImageFormat,
  qemuImg: QemuImg,
  options: InspectionOptions,
): Promise<number> {
  const size = await withFile(path, async (file) => {
    const stats = await file.stat();
    if (!stats.isFile() || stats.size === 0) throw unacceptable("it is empty or not a regular file");
    await checkHeader(file, path, format, options);
    return stats.size;
  });
  const qemuFormat = qemuFormatOf(format);
  if (qemuFormat === undefined || qemuFormat === "raw") {
    const rounded = Math.ceil(size / SECTOR) * SECTOR;
    checkVirtualSize(rounded, options);
    return rounded;
  }
  const image = { path, format: qemuFormat };
  try {
    const info = await qemuImg.info(image, options);
    if (info.refersToOtherFiles) throw unacceptable("it refers to other files");
    checkVirtualSize(info.virtualSizeBytes, options);
    if (CHECKED.has(qemuFormat) && !(await qemuImg.isSound(image, options)))
      throw unacceptable("it is damaged or cut short");
    return info.virtualSizeBytes;
  } catch (error) {
    if (!isHyperviseError(error, "COMMAND_FAILED")) throw error;
    throw new ImageUnacceptableError(`the image can't be used: QEMU can't read it as ${format}`, { cause: error });
  }
}

async function checkHeader(
  file: FileHandle,
  path: string,
  format: ImageFormat,
  options: InspectionOptions,
): Promise<void> {
  switch (format) {
    case "qcow2":
      return checkQcow2(path, options);
    case "iso":
      return expectMagic(file, 32_769, Buffer.from("CD001"), "an ISO 9660 image");
    case "vdi":
      return checkVdi(file);
    case "vhdx":
      return checkVhdxLayout(file, (await file.stat()).size);
    case "vhd":
      return checkVhd(file);
    case "vmdk":
      return checkVmdk(file);
    case "raw":
    case "ami":
    case "ari":
    case "aki":
      return;
  }
}

async function checkQcow2(path: string, options: InspectionOptions): Promise<void> {
  const header = await readQcow2Header(path);
  if (header.backingFile !== undefined) throw unacceptable("it has a backing file");
  if (header.externalDataFile) throw unacceptable("it keeps its data in another file");
  if (header.encrypted) throw unacceptable("it is encrypted");
  if (header.corrupt) throw unacceptable("it is marked as damaged");
  checkVirtualSize(header.virtualSizeBytes, options);
}

async function checkVdi(file: FileHandle): Promise<void> {
  const wanted = vdiFileBytes(await readAt(file, 0, VDI_HEADER_BYTES));
  if ((await file.stat()).size < wanted) throw unacceptable("it is damaged or cut short");
}

/** The footer at the end, of which dynamic disks have a copy at the start, says what kind of disk it is. */
async function checkVhd(file: FileHandle): Promise<void> {
  const { size } = await file.stat();
  const footer = await readAt(file, Math.max(0, size - SECTOR), SECTOR);
  if (footer.length < SECTOR || footer.toString("latin1", 0, 8) !== "conectix")
    throw unacceptable("it is not a VHD image");
  const [fixed, dynamic] = [2, 3];
  const type = footer.readUInt32BE(60);
  if (type !== fixed && type !== dynamic) throw unacceptable("it is a VHD that depends on another");
}

/** Only the kinds that keep everything in one file: a descriptor on its own would name the files that hold the data. */
async function checkVmdk(file: FileHandle): Promise<void> {
  const header = await readAt(file, 0, SECTOR);
  if (header.length < SECTOR || header.toString("latin1", 0, 4) !== "KDMV")
    throw unacceptable("it is not a sparse VMDK image");
  if (header.readBigUInt64LE(12) === 0n) throw unacceptable("its VMDK header has no capacity");
  const sectors = header.readBigUInt64LE(36);
  // QEMU looks for a parent in the second sector, wherever the header says that the descriptor is.
  if (header.readBigUInt64LE(28) !== 1n || sectors === 0n || sectors * BigInt(SECTOR) > VMDK_DESCRIPTOR_MAX) {
    throw unacceptable("its VMDK descriptor is out of place");
  }
  const descriptor = (await readAt(file, SECTOR, Number(sectors) * SECTOR)).toString("latin1");
  const type = /^\s*createType\s*=\s*"([^"]*)"/m.exec(descriptor)?.[1];
  if (type !== "monolithicSparse" && type !== "streamOptimized") throw unacceptable("it is a VMDK of several files");
  const atEnd = header.readBigUInt64LE(56) === VMDK_DIRECTORY_AT_END;
  if (atEnd && !(await hasVmdkFooter(file))) throw unacceptable("it is damaged or cut short");
  if (/parentFileNameHint/i.test(descriptor)) throw unacceptable("it is a VMDK that depends on another");
}

/** The last but one sector of a stream repeats the header; only with it is the stream whole. */
async function hasVmdkFooter(file: FileHandle): Promise<boolean> {
  const { size } = await file.stat();
  const footer = size < 3 * SECTOR ? Buffer.alloc(0) : await readAt(file, size - 2 * SECTOR, 4);
  return footer.toString("latin1") === "KDMV";
}

async function expectMagic(file: FileHandle, offset: number, magic: Buffer, what: string): Promise<void> {
  const found = await readAt(file, offset, magic.length);
  if (!found.equals(magic)) throw unacceptable(`it is not ${what}`);
}

async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, offset);
  return buffer.subarray(0, bytesRead);
}

async function withFile<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

function checkVirtualSize(bytes: number, options: InspectionOptions): void {
  if (bytes === 0) throw unacceptable("its disk has no size");
  if (bytes > options.maxVirtualSizeBytes) {
    throw unacceptable(`its disk is larger than the ${options.maxVirtualSizeBytes} bytes that are allowed`);
  }
}

function unacceptable(why: string): ImageUnacceptableError {
  return new ImageUnacceptableError(`the image can't be used: ${why}`);
}

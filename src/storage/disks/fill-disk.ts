/** Makes the file of a new disk: empty, an overlay of an image, or a copy of one. */
import { truncate } from "node:fs/promises";
import { InvalidArgumentError } from "../../core/index.js";
import { cloneOrCopyFile } from "../copy-file.js";
import type { DiskSourceFormat } from "./disk-source.js";
import { ImageUnacceptableError } from "../errors.js";
import type { LocalImage } from "../images/image.js";
import type { TransferOptions } from "../images/image-store.js";
import { inspectImage } from "../images/inspect-image.js";
import { readQcow2Header } from "../images/qcow2-header.js";
import type { Qcow2Header } from "../images/qcow2-header.js";
import { qemuFormatOf } from "../qemu-img.js";
import type { FormattedFile, Preallocation, QemuImg } from "../qemu-img.js";
import type { CommandRunner } from "../../host/index.js";
import type { DiskLayout } from "./disk-backend.js";
import { reserveSpace } from "./reserve-space.js";

/** What disks are made like. */
export interface DiskStyle {
  /** `overlay`: of the image, where its format allows that. `flat`: a copy of it. */
  readonly layout: DiskLayout;
  readonly preallocation: Preallocation;
}

export interface DiskTools {
  readonly qemuImg: QemuImg;
  readonly commands: CommandRunner;
}

interface Common {
  readonly file: FormattedFile;
  readonly sizeBytes: number;
  readonly preallocation: Preallocation;
}

/** How a disk comes to be. */
export type FillPlan =
  | (Common & { readonly how: "empty" })
  | (Common & { readonly how: "overlay"; readonly on: FormattedFile })
  | (Common & { readonly how: "copy"; readonly from: FormattedFile })
  | (Common & { readonly how: "convert"; readonly from: FormattedFile; readonly image: LocalImage });

const SECTOR = 512;

/** @throws InvalidArgumentError when the image is no disk or larger than the disk. */
export function planFill(
  path: string,
  format: DiskSourceFormat,
  sizeBytes: number,
  image: LocalImage | undefined,
  { layout, preallocation }: DiskStyle,
): FillPlan {
  const file = { path, format };
  const common = { file, sizeBytes: Math.ceil(sizeBytes / SECTOR) * SECTOR, preallocation };
  if (image === undefined) return { how: "empty", ...common };
  const from = imageFile(image, common.sizeBytes);
  const isRaw = from.format === "raw";
  // A copy leaves holes where the image has them; written space is what `convert` makes.
  if (format === "raw" && isRaw && preallocation !== "full") return { how: "copy", ...common, from };
  if (format === "qcow2" && layout === "overlay" && (isRaw || from.format === "qcow2"))
    return { how: "overlay", ...common, on: from };
  return { how: "convert", ...common, from, image };
}

/** @throws InvalidArgumentError when the image is no disk, or larger than `sizeBytes`. */
export function imageFile(image: LocalImage, sizeBytes: number): FormattedFile {
  const format = qemuFormatOf(image.format);
  if (format === undefined)
    throw new InvalidArgumentError({ field: "image.format", value: image.format, expected: "an image of a disk" });
  if (sizeBytes < image.virtualSizeBytes) {
    throw new InvalidArgumentError({
      field: "sizeBytes",
      value: sizeBytes,
      expected: `at least the image's ${image.virtualSizeBytes} bytes`,
    });
  }
  return { path: image.path, format };
}

/** Does what is planned. What is left on failure is the caller's to remove. */
export async function fillDisk(plan: FillPlan, tools: DiskTools, options: TransferOptions): Promise<void> {
  const { qemuImg, commands } = tools;
  const { file, sizeBytes, preallocation } = plan;
  switch (plan.how) {
    case "empty":
      return qemuImg.create(file, { sizeBytes, preallocation }, options);
    case "overlay":
      await refuseReferences(plan.on);
      await qemuImg.create(file, { sizeBytes, backing: plan.on }, options);
      return reserveSpace(file.path, sizeBytes, preallocation, commands, options);
    case "copy":
      await cloneOrCopyFile(plan.from.path, file.path, options);
      await truncate(file.path, sizeBytes);
      return reserveSpace(file.path, sizeBytes, preallocation, commands, options);
    case "convert": {
      const imageBytes = await checkedSize(plan.image, sizeBytes, qemuImg, options);
      await qemuImg.convert(plan.from, file, imageBytes, { ...options, preallocation });
      if (sizeBytes > imageBytes) await qemuImg.resize(file, sizeBytes, { ...options, preallocation });
    }
  }
}

/** Grows a disk that nobody has open. */
export async function growDisk(
  file: FormattedFile,
  sizeBytes: number,
  preallocation: Preallocation,
  tools: DiskTools,
  options: TransferOptions,
): Promise<void> {
  const { qemuImg, commands } = tools;
  if (file.format === "raw" && preallocation === "none") return truncate(file.path, sizeBytes);
  const isOverlay = file.format === "qcow2" && (await readQcow2Header(file.path)).backingFile !== undefined;
  if (!isOverlay) return qemuImg.resize(file, sizeBytes, { ...options, preallocation });
  // The space first: a disk that has grown can't be made smaller again.
  await reserveSpace(file.path, sizeBytes, preallocation, commands, options);
  await qemuImg.resize(file, sizeBytes, options);
}

/** An image of any store is the last of its chain: what it would lead to is none of the guest's business. */
async function refuseReferences(image: FormattedFile): Promise<void> {
  if (image.format === "qcow2") await checkedQcow2(image.path);
}

/**
 * The size of an image as its own header says, so that what is made of it is bounded whatever its record says.
 * @throws ImageUnacceptableError when it is larger than that, damaged, or refers to other files.
 */
export async function checkedSize(
  image: LocalImage,
  maxBytes: number,
  qemuImg: QemuImg,
  options: TransferOptions,
): Promise<number> {
  const { signal } = options;
  const limits = { maxVirtualSizeBytes: maxBytes, ...(signal === undefined ? {} : { signal }) };
  if (image.format !== "qcow2") return inspectImage(image.path, image.format, qemuImg, limits);
  const { virtualSizeBytes } = await checkedQcow2(image.path);
  if (virtualSizeBytes <= maxBytes) return virtualSizeBytes;
  throw new ImageUnacceptableError("the image can't be used: it is larger than its record says", {
    detail: image.path,
  });
}

async function checkedQcow2(path: string): Promise<Qcow2Header> {
  const header = await readQcow2Header(path);
  if (header.backingFile === undefined && !header.externalDataFile) return header;
  throw new ImageUnacceptableError("the image can't be used: it refers to other files", { detail: path });
}

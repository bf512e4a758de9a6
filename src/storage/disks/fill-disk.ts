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
import type { FormattedFile, QemuImg } from "../qemu-img.js";

/** How a disk comes to be. */
export type FillPlan =
  | { readonly how: "empty"; readonly file: FormattedFile; readonly sizeBytes: number }
  | { readonly how: "overlay"; readonly file: FormattedFile; readonly sizeBytes: number; readonly on: FormattedFile }
  | { readonly how: "copy"; readonly file: FormattedFile; readonly sizeBytes: number; readonly from: FormattedFile }
  | {
      readonly how: "convert";
      readonly file: FormattedFile;
      readonly sizeBytes: number;
      readonly from: FormattedFile;
      readonly image: LocalImage;
    };

const SECTOR = 512;

/** @throws InvalidArgumentError when the image is no disk or larger than the disk. */
export function planFill(
  path: string,
  format: DiskSourceFormat,
  sizeBytes: number,
  image: LocalImage | undefined,
): FillPlan {
  const file = { path, format };
  const size = Math.ceil(sizeBytes / SECTOR) * SECTOR;
  if (image === undefined) return { how: "empty", file, sizeBytes: size };
  const imageFormat = qemuFormatOf(image.format);
  if (imageFormat === undefined) {
    throw new InvalidArgumentError({ field: "image.format", value: image.format, expected: "an image of a disk" });
  }
  if (size < image.virtualSizeBytes) {
    throw new InvalidArgumentError({
      field: "sizeBytes",
      value: sizeBytes,
      expected: `at least the image's ${image.virtualSizeBytes} bytes`,
    });
  }
  const from = { path: image.path, format: imageFormat };
  if (format === "raw" && imageFormat === "raw") return { how: "copy", file, sizeBytes: size, from };
  if (format === "qcow2" && (imageFormat === "raw" || imageFormat === "qcow2"))
    return { how: "overlay", file, sizeBytes: size, on: from };
  return { how: "convert", file, sizeBytes: size, from, image };
}

/** Does what is planned. What is left on failure is the caller's to remove. */
export async function fillDisk(plan: FillPlan, qemuImg: QemuImg, options: TransferOptions): Promise<void> {
  const { file, sizeBytes } = plan;
  switch (plan.how) {
    case "empty":
      return qemuImg.create(file, { sizeBytes }, options);
    case "overlay":
      await refuseReferences(plan.on);
      return qemuImg.create(file, { sizeBytes, backing: plan.on }, options);
    case "copy":
      await cloneOrCopyFile(plan.from.path, file.path, options);
      return truncate(file.path, sizeBytes);
    case "convert": {
      const imageBytes = await checkedSize(plan.image, sizeBytes, qemuImg, options);
      await qemuImg.convert(plan.from, file, imageBytes, options);
      if (sizeBytes > imageBytes) await qemuImg.resize(file, sizeBytes, options);
    }
  }
}

/** An image of any store is the last of its chain: what it would lead to is none of the guest's business. */
async function refuseReferences(image: FormattedFile): Promise<void> {
  if (image.format === "qcow2") await checkedQcow2(image.path);
}

async function checkedSize(
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

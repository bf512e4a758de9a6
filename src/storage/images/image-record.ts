/** Image metadata: checked at the door, and kept as JSON beside the image's bytes. */
import { readFile } from "node:fs/promises";
import { check, StateCorruptError } from "../../core/index.js";
import type { Check } from "../../core/index.js";
import { IMAGE_FORMATS } from "./image.js";
import type { ImageMetadata } from "./image.js";
import { errnoOf } from "../storage-failure.js";

const MAX_RECORD_BYTES = 1024 * 1024;

/** An image's id as {@link ImageMetadata} states it. */
export const checkImageId: Check<string> = check.string({
  max: 255,
  pattern: /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/,
  expected: "an image id: 1 to 255 characters of [A-Za-z0-9._-], not starting with '.'",
});

export const checkImageMetadata: Check<ImageMetadata> = check.object({
  id: checkImageId,
  name: check.optional(check.string({ min: 0, max: 255 })),
  format: check.oneOf(IMAGE_FORMATS),
  sizeBytes: check.optional(check.integer({ min: 0 })),
  virtualSizeBytes: check.optional(check.integer({ min: 0 })),
  minDiskGiB: check.optional(check.integer({ min: 0, max: 2 ** 31 })),
  minMemoryMiB: check.optional(check.integer({ min: 0, max: 2 ** 31 })),
  checksum: check.optional(
    check.string({
      pattern: /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/,
      expected: "sha256: or sha512: and lower-case hexadecimal digits",
    }),
  ),
  properties: check.optional(
    check.record(check.string({ max: 255 }), check.string({ min: 0, max: 65_535, charset: "text" })),
  ),
});

const checkRecord = check.object({ version: check.oneOf([1]), metadata: checkImageMetadata });

/** Metadata of an image whose bytes are there. */
export type StoredImage = ImageMetadata & Required<Pick<ImageMetadata, "sizeBytes" | "virtualSizeBytes" | "checksum">>;

export function formatImageRecord(metadata: StoredImage): string {
  return `${JSON.stringify({ version: 1, metadata }, undefined, 2)}\n`;
}

/** Undefined when there is no record. @throws StateCorruptError when there is one that can't be read. */
export async function readImageRecord(path: string): Promise<StoredImage | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
  try {
    if (text.length > MAX_RECORD_BYTES) throw new RangeError("the record is too long");
    const { metadata } = checkRecord(JSON.parse(text), "record");
    const { sizeBytes, virtualSizeBytes, checksum } = metadata;
    if (sizeBytes === undefined || virtualSizeBytes === undefined || checksum === undefined) {
      throw new RangeError("the record lacks a size or the checksum");
    }
    return { ...metadata, sizeBytes, virtualSizeBytes, checksum };
  } catch (error) {
    throw new StateCorruptError("the record of an image can't be read", { cause: error, detail: path });
  }
}

/** The record of an image that is a snapshot of an instance's root disk, as Nova makes it. Pure. */
import type { DiskSourceFormat } from "../disks/disk-source.js";
import type { ImageKernel } from "./image-kernel.js";
import type { ImageFormat, ImageMetadata } from "./image.js";

export interface SnapshotOf {
  /** Of the new image. */
  readonly id: string;
  readonly name?: string | undefined;
  /** Of the copy of the disk. */
  readonly format: DiskSourceFormat;
  /** Of the disk. */
  readonly virtualSizeBytes: number;
  readonly instanceUuid: string;
  /** What the disk was made from: its id, and its record where it is still there. */
  readonly baseImageId?: string | undefined;
  readonly base?: ImageMetadata | undefined;
  readonly kernel?: ImageKernel | undefined;
  /** The caller's own; they have the last word but on what the image is. */
  readonly properties?: Readonly<Record<string, string>>;
}

const GIB = 1024 ** 3;
/** What is said of one image's bytes, and no more of a copy that a guest has written to. */
const NOT_INHERITED =
  /^(?:img_signature(?:_.*)?|cache_in_nova|bittorrent|image_type|image_location|image_state|base_image_ref|instance_uuid|user_id|owner_id|owner_specified\..*|os_hash_.*|checksum|stores|signature_verified)$/;

/**
 * The properties of the image that the disk was made from go along (architecture, `hw_*`, `os_*`), with `image_type`,
 * `image_location`, `image_state`, `instance_uuid`, `base_image_ref`, `kernel_id` and `ramdisk_id`. A raw copy of an `ami` stays one. Who it belongs to
 * (`user_id`, `owner_id`) the caller says.
 */
export function snapshotMetadata(snapshot: SnapshotOf): ImageMetadata {
  const { id, name, format, virtualSizeBytes, instanceUuid, baseImageId, base, kernel } = snapshot;
  const inherited = Object.entries(base?.properties ?? {}).filter(([key]) => !NOT_INHERITED.test(key));
  const minDiskGiB = Math.max(Math.ceil(virtualSizeBytes / GIB), base?.minDiskGiB ?? 0);
  const imageFormat: ImageFormat = format === "raw" && base?.format === "ami" ? "ami" : format;
  return {
    id,
    ...(name === undefined ? {} : { name }),
    format: imageFormat,
    virtualSizeBytes,
    minDiskGiB,
    ...(base?.minMemoryMiB === undefined ? {} : { minMemoryMiB: base.minMemoryMiB }),
    properties: {
      ...Object.fromEntries(inherited),
      ...(kernel === undefined ? {} : { kernel_id: kernel.kernelImageId }),
      ...(kernel?.ramdiskImageId === undefined ? {} : { ramdisk_id: kernel.ramdiskImageId }),
      ...snapshot.properties,
      image_type: "snapshot",
      image_location: "snapshot",
      image_state: "available",
      instance_uuid: instanceUuid,
      ...(baseImageId === undefined ? {} : { base_image_ref: baseImageId }),
    },
  };
}

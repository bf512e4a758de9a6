/** Whether a flavor is large enough for an image. Pure. */
import { FlavorDiskTooSmallError, FlavorMemoryTooSmallError } from "./errors.js";
import type { Flavor } from "./instance-spec.js";
import type { ImageMetadata } from "../storage/index.js";

const GIB = 1_073_741_824;

/** @throws FlavorDiskTooSmallError, FlavorMemoryTooSmallError. A flavor with a root disk of 0 takes the image's size. */
export function checkImageFits(
  image: Pick<ImageMetadata, "id" | "minDiskGiB" | "minMemoryMiB" | "virtualSizeBytes">,
  flavor: Flavor,
): void {
  const { id, minDiskGiB = 0, minMemoryMiB = 0, virtualSizeBytes = 0 } = image;
  const { rootGiB, memoryMiB } = flavor;
  if (rootGiB > 0 && (rootGiB < minDiskGiB || rootGiB * GIB < virtualSizeBytes)) {
    const wanted = Math.max(minDiskGiB, Math.ceil(virtualSizeBytes / GIB));
    throw new FlavorDiskTooSmallError(`image ${id} wants a root disk of ${wanted} GiB, the flavor has ${rootGiB}`, {
      remedy: "Take a flavor with a larger root disk.",
    });
  }
  if (memoryMiB < minMemoryMiB) {
    throw new FlavorMemoryTooSmallError(
      `image ${id} wants ${minMemoryMiB} MiB of memory, the flavor has ${memoryMiB}`,
      {
        remedy: "Take a flavor with more memory.",
      },
    );
  }
}

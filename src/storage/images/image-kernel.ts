/** The kernel and ramdisk that an image asks to be booted with, by Glance's properties. */
import { isHyperviseError } from "../../core/index.js";
import { ImageUnacceptableError } from "../errors.js";
import { checkImageId } from "./image-record.js";
import type { ImageMetadata } from "./image.js";

export interface ImageKernel {
  /** Of an image of format `aki`, or any other that holds a kernel. */
  readonly kernelImageId: string;
  readonly ramdiskImageId?: string;
  readonly commandLine?: string;
}

/** Says of an image that it boots by itself. */
const NONE = new Set(["", "nokernel"]);

/**
 * What `kernel_id`, `ramdisk_id` and `os_command_line` of the image's properties say; undefined for an image that boots by itself.
 * @throws ImageUnacceptableError when one of them is no image id.
 */
export function kernelOf({ properties = {} }: Pick<ImageMetadata, "properties">): ImageKernel | undefined {
  const kernelImageId = idOf(properties, "kernel_id");
  if (kernelImageId === undefined) return undefined;
  const ramdiskImageId = idOf(properties, "ramdisk_id");
  const commandLine = properties["os_command_line"];
  return {
    kernelImageId,
    ...(ramdiskImageId === undefined ? {} : { ramdiskImageId }),
    ...(commandLine === undefined || commandLine === "" ? {} : { commandLine }),
  };
}

function idOf(properties: Readonly<Record<string, string>>, key: string): string | undefined {
  const id = properties[key];
  if (id === undefined || NONE.has(id)) return undefined;
  try {
    return checkImageId(id, key);
  } catch (error) {
    if (!isHyperviseError(error, "INVALID_ARGUMENT")) throw error;
    throw new ImageUnacceptableError(`the image's ${key} is no image id`, { cause: error });
  }
}

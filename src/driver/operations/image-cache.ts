/** The host's cache of images. */
import { check } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import { checkOptions } from "../operation-options.js";
import type { HostContext } from "../host-context.js";
import { limited } from "../guest-actions.js";
import type { StoredSpec } from "../validate-instance-spec.js";
import { runQuery } from "../run-operation.js";

/** Nova's `remove_unused_original_minimum_age_seconds`. */
const UNUSED_FOR_MS = 86_400_000;
const imageIdCheck = check.string({
  min: 1,
  max: 255,
  pattern: /^[A-Za-z0-9._-]+$/,
  expected: "1 to 255 characters of A-Z a-z 0-9 . _ -",
});
const ageCheck = check.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

export async function cacheImage(host: HostContext, imageId: string, options?: OperationOptions): Promise<boolean> {
  host.lifecycle.assertReady();
  imageIdCheck(imageId, "imageId");
  const { signal, onProgress, deadline } = checkOptions(options);
  const { images } = host.collaborators;
  return limited(host, deadline ?? host.timeouts.imageFetchMs, "cacheImage", signal, async (limit) => {
    if (await images.isCached(imageId)) return false;
    await images.fetch(imageId, {
      signal: limit,
      onProgress: (progress) => onProgress?.({ phase: "image", ...progress }),
    });
    return true;
  });
}

export function manageImageCache(
  host: HostContext,
  options: { readonly unusedForMs?: number } = {},
): Promise<readonly string[]> {
  return runQuery(host, "manageImageCache", { deadline: host.timeouts.diskCopyMs }, () => {
    const unusedForMs = ageCheck(options.unusedForMs ?? UNUSED_FOR_MS, "options.unusedForMs");
    const inUse = new Set(host.records.list().flatMap(({ spec }) => imagesOf(spec)));
    return host.collaborators.images.ageCache(inUse, unusedForMs);
  });
}

/** Images that an instance's disks are overlays of, or that it boots from. */
function imagesOf({ imageId, kernel }: StoredSpec): readonly string[] {
  return [imageId, kernel?.kernelImageId, kernel?.ramdiskImageId].flatMap((id) => id ?? []);
}

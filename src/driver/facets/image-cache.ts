/** The host's cache of images. */
import type { OperationOptions } from "../../core/index.js";

export interface ImageCacheFacet {
  /** Brings an image onto the host ahead of its use; true when it had to be fetched. Rejects with `ImageNotFoundError`. (Nova's `cache_image`.) */
  cacheImage(imageId: string, options?: OperationOptions): Promise<boolean>;
  /** Drops cached images that no instance of this host uses and that were last used longer than `unusedForMs` ago (default 24 h); returns their ids. (Nova's `manage_image_cache`.) */
  manageImageCache(options?: { readonly unusedForMs?: number }): Promise<readonly string[]>;
}

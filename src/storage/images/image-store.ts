/** Where images come from and go to. An embedder gives its own; `DirectoryImageStore` is the default. */
import type { ImageMetadata, LocalImage } from "./image.js";

export interface TransferProgress {
  readonly bytesDone: number;
  /** Absent while the size is unknown. */
  readonly bytesTotal?: number;
}

export interface TransferOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: TransferProgress) => void) | undefined;
}

export interface ImageStore {
  /** Reads an image's record. Rejects with `ImageNotFoundError`. */
  describe(imageId: string, options?: TransferOptions): Promise<ImageMetadata>;

  /**
   * Brings the image onto this host and returns it. Concurrent calls for one image fetch it once; a fetched image is kept for later calls.
   * Rejects with `ImageNotFoundError` or `ImageUnacceptableError` (not of the recorded format, or one that refers to other files); nothing partial is left.
   */
  fetch(imageId: string, options?: TransferOptions): Promise<LocalImage>;

  /**
   * Stores the file at `path` as the image `metadata.id` and returns its record. An image of that id is replaced only when it is unfinished.
   * On failure or abort nothing of it is left. Rejects with `ConflictError` when a finished image has the id.
   */
  upload(metadata: ImageMetadata, path: string, options?: TransferOptions): Promise<ImageMetadata>;

  /** Deletes an image; success when there is none. */
  delete(imageId: string): Promise<void>;

  /** True when `fetch` would not have to transfer anything. */
  isCached(imageId: string): Promise<boolean>;

  /**
   * Drops cached images that are in no use and were last used longer than `unusedForMs` ago; returns the ids dropped.
   * Ids in `inUse` are never dropped (Nova's `manage_image_cache`).
   */
  ageCache(inUse: ReadonlySet<string>, unusedForMs: number): Promise<readonly string[]>;
}

/** The world's image service: what images there are, and what is on them. */
import { ConflictError } from "../core/index.js";
import { ImageNotFoundError } from "../storage/index.js";
import type { ImageMetadata } from "../storage/index.js";
import type { Content } from "./storage.js";

export interface RegisteredImage {
  readonly metadata: ImageMetadata;
  readonly content: Content;
  /** Its bytes are not what its record says: `fetch` rejects with `ImageUnacceptableError`. */
  readonly corrupt: boolean;
  /** False while it is being uploaded. */
  readonly finished: boolean;
}

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

/** Images that every world starts with. */
const DEFAULT_IMAGES: readonly ImageMetadata[] = [
  { id: "cirros", name: "CirrOS", format: "qcow2", sizeBytes: 16 * MIB, virtualSizeBytes: 112 * MIB },
  {
    id: "debian",
    name: "Debian",
    format: "qcow2",
    sizeBytes: 330 * MIB,
    virtualSizeBytes: 2 * GIB,
    minDiskGiB: 2,
    minMemoryMiB: 256,
  },
  { id: "rescue", name: "Rescue system", format: "raw", sizeBytes: 64 * MIB, virtualSizeBytes: 64 * MIB },
  { id: "kernel", name: "Kernel", format: "aki", sizeBytes: 8 * MIB, virtualSizeBytes: 8 * MIB },
  { id: "ramdisk", name: "Initial RAM disk", format: "ari", sizeBytes: 32 * MIB, virtualSizeBytes: 32 * MIB },
];

export class ImageRegistry {
  readonly #images = new Map<string, RegisteredImage>();

  constructor() {
    for (const metadata of DEFAULT_IMAGES) this.add(metadata);
  }

  /** Adds or replaces an image. */
  add(metadata: ImageMetadata, options: { readonly corrupt?: boolean; readonly content?: Content } = {}): void {
    const content = options.content ?? [`image:${metadata.id}`];
    this.set({ metadata, content, corrupt: options.corrupt ?? false, finished: true });
  }

  set(image: RegisteredImage): void {
    this.#images.set(image.metadata.id, image);
  }

  get(id: string): RegisteredImage | undefined {
    return this.#images.get(id);
  }

  /** @throws ImageNotFoundError when there is none, or it is not finished. */
  require(id: string): RegisteredImage {
    const image = this.#images.get(id);
    if (image === undefined || !image.finished) throw new ImageNotFoundError(`Image ${id} was not found`);
    return image;
  }

  /** Begins an upload. @throws ConflictError when a finished image has the id. */
  begin(metadata: ImageMetadata): void {
    if (this.#images.get(metadata.id)?.finished === true)
      throw new ConflictError(`Image ${metadata.id} is there already`);
    this.set({ metadata, content: [], corrupt: false, finished: false });
  }

  delete(id: string): void {
    this.#images.delete(id);
  }

  clear(): void {
    this.#images.clear();
  }

  get all(): Iterable<RegisteredImage> {
    return this.#images.values();
  }
}

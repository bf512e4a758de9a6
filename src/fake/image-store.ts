/** The world's image service as one host sees it, with the host's cache. */
import type { ImageMetadata, ImageStore, LocalImage, TransferOptions } from "../storage/index.js";
import { ImageUnacceptableError } from "../storage/index.js";
import { FakeUnreachableError } from "./errors.js";
import type { FaultPoint } from "./fault-points.js";
import type { FakeHost } from "./host.js";
import type { FakeProcess, Halfway } from "./process.js";
import type { FakeFile } from "./storage.js";
import { transfer } from "./transfer.js";

export class FakeImageStore implements ImageStore {
  readonly #process: FakeProcess;
  readonly #host: FakeHost;
  readonly #fetching = new Map<string, Promise<void>>();

  constructor(process: FakeProcess) {
    this.#process = process;
    this.#host = process.host;
  }

  describe(imageId: string, options: TransferOptions = {}): Promise<ImageMetadata> {
    return this.#call("images.describe", imageId, options, () => {
      this.#requireService();
      return this.#host.world.images.require(imageId).metadata;
    });
  }

  fetch(imageId: string, options: TransferOptions = {}): Promise<LocalImage> {
    return this.#call("images.fetch", imageId, options, async (halfway) => {
      const { metadata, corrupt } = this.#host.world.images.require(imageId);
      while (this.#cached(imageId)?.complete !== true) {
        this.#requireService();
        if (corrupt) throw new ImageUnacceptableError(`Image ${imageId} is not what its record says`);
        const running = this.#fetching.get(imageId);
        if (running === undefined) await this.#fetchOnce(metadata, options, halfway);
        else
          await this.#process.wait(
            running.catch(() => undefined),
            options.signal,
          );
      }
      this.#host.imageUses.set(imageId, this.#process.clock.now());
      const virtualSizeBytes = metadata.virtualSizeBytes ?? metadata.sizeBytes ?? 0;
      return { id: imageId, path: this.#pathOf(imageId), format: metadata.format, virtualSizeBytes };
    });
  }

  upload(metadata: ImageMetadata, path: string, options: TransferOptions = {}): Promise<ImageMetadata> {
    return this.#call("images.upload", metadata.id, options, async (halfway) => {
      this.#requireService();
      const { images } = this.#host.world;
      const file = this.#host.resolve({ type: "file", path, format: "raw" });
      if (file === undefined || (typeof file === "object" && !file.complete)) {
        throw new ImageUnacceptableError("The file to store is not there, or not whole", { detail: path });
      }
      images.begin(metadata);
      const sizeBytes = typeof file === "object" ? file.allocatedBytes : 0;
      try {
        await transfer(this.#process, { bytes: sizeBytes, mibps: this.#host.rates.imageMiBps, ...options });
      } catch (error) {
        if (this.#process.alive) images.delete(metadata.id);
        throw error;
      }
      await halfway();
      const virtualSizeBytes = typeof file === "object" ? file.virtualSizeBytes : sizeBytes;
      const stored = { ...metadata, sizeBytes, virtualSizeBytes };
      images.set({
        metadata: stored,
        content: typeof file === "object" ? file.content : [],
        corrupt: false,
        finished: true,
      });
      return stored;
    });
  }

  delete(imageId: string): Promise<void> {
    return this.#call("images.delete", imageId, {}, () => {
      this.#requireService();
      this.#host.world.images.delete(imageId);
    });
  }

  isCached(imageId: string): Promise<boolean> {
    return this.#call("images.isCached", imageId, {}, () => this.#cached(imageId)?.complete === true);
  }

  ageCache(inUse: ReadonlySet<string>, unusedForMs: number): Promise<readonly string[]> {
    return this.#call("images.ageCache", undefined, {}, () => {
      const oldest = this.#process.clock.now() - unusedForMs;
      const old = [...this.#host.imageUses]
        .filter(([id, usedAt]) => usedAt < oldest && !inUse.has(id))
        .map(([id]) => id);
      for (const id of old) {
        this.#host.imageUses.delete(id);
        this.#host.storage.remove(this.#pathOf(id));
      }
      return old;
    });
  }

  async #fetchOnce(metadata: ImageMetadata, options: TransferOptions, halfway: Halfway): Promise<void> {
    const work = this.#bring(metadata, options, halfway);
    this.#fetching.set(metadata.id, work);
    try {
      await work;
    } finally {
      this.#fetching.delete(metadata.id);
    }
  }

  async #bring(metadata: ImageMetadata, options: TransferOptions, halfway: Halfway): Promise<void> {
    const { storage, rates, world } = this.#host;
    const bytes = metadata.sizeBytes ?? 0;
    const path = this.#pathOf(metadata.id);
    storage.remove(path);
    const file: FakeFile = {
      path,
      kind: "image",
      owner: undefined,
      name: metadata.id,
      format: metadata.format === "qcow2" ? "qcow2" : "raw",
      virtualSizeBytes: bytes,
      allocatedBytes: bytes,
      content: world.images.require(metadata.id).content,
      backing: undefined,
      complete: false,
    };
    storage.add(file);
    try {
      await transfer(this.#process, { bytes, mibps: rates.imageMiBps, ...options });
    } catch (error) {
      if (this.#process.alive) storage.remove(path);
      throw error;
    }
    await halfway();
    file.complete = true;
  }

  #cached(imageId: string): FakeFile | undefined {
    return this.#host.storage.get(this.#pathOf(imageId));
  }

  #pathOf(imageId: string): string {
    return this.#host.storage.pathOf("images", imageId);
  }

  #requireService(): void {
    if (!this.#host.world.reachable(this.#host, "services")) throw new FakeUnreachableError("The image service");
  }

  #call<T>(
    point: FaultPoint,
    subject: string | undefined,
    options: TransferOptions,
    body: (halfway: Halfway) => T | Promise<T>,
  ): Promise<T> {
    return this.#process.pass(point, { subject, signal: options.signal }, body);
  }
}

/** An image store in a directory of this host, or of storage that hosts share. */
import { open, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { check, ConflictError, systemClock, throwIfAborted } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import { ImageNotFoundError, ImageUnacceptableError } from "../errors.js";
import { ImageCache } from "./image-cache.js";
import { checkImageId, checkImageMetadata, formatImageRecord, readImageRecord } from "./image-record.js";
import type { StoredImage } from "./image-record.js";
import type { ImageMetadata, LocalImage } from "./image.js";
import type { ImageSource } from "./image-source.js";
import type { ImageStore, TransferOptions } from "./image-store.js";
import { inspectImage } from "./inspect-image.js";
import { intakeOf } from "./intake.js";
import type { Intake } from "./intake.js";
import { PartialDownloads } from "./partial-downloads.js";
import { QemuImg, qemuFormatOf } from "../qemu-img.js";
import type { QemuImgLimits } from "../qemu-img.js";
import { SingleFlight } from "../single-flight.js";
import { namesIn, StagingArea } from "../staging-area.js";
import { errnoOf, storageFailure } from "../storage-failure.js";

export interface DirectoryImageStoreOptions {
  /** Absolute path; made when it is not there. */
  readonly directory: string;
  /**
   * Absolute path of the images that disks on this host are overlays of. Default: `.cache` in `directory`, where an image
   * takes no space of its own. For a store on shared storage give each host a directory on its own disk.
   */
  readonly cacheDirectory?: string;
  /** Larger images are refused; bytes. Default: no limit but the disk's. */
  readonly maxImageBytes?: number;
  /** Images of larger disks are refused; bytes. Default 64 TiB. */
  readonly maxVirtualSizeBytes?: number;
  /** Runs `qemu-img`. Default: the system's runner. */
  readonly commands?: CommandRunner;
  readonly qemuImgLimits?: Partial<QemuImgLimits>;
  readonly clock?: Clock;
}

/** What to import: the image's record, and where its bytes are. */
export type ImportImageRequest = ImageMetadata & ImageSource;

const RECORD = "image.json";
const STAGING = ".staging";
const PARTIAL = ".partial";
const CACHE = ".cache";
const TAKEN = new Set(["ENOTEMPTY", "EEXIST"]);

/**
 * Keeps each image as `<directory>/<id>/` with its bytes and its record; both appear and go in one step. The format is what
 * the record says, and the bytes are held against it once, when they come in. Several processes may share a store.
 */
export class DirectoryImageStore implements ImageStore {
  readonly #directory: string;
  readonly #staging: StagingArea;
  readonly #cache: ImageCache;
  readonly #partials: PartialDownloads;
  readonly #clock: Clock;
  readonly #qemuImg: QemuImg;
  readonly #maxImageBytes: number;
  readonly #maxVirtualSizeBytes: number;
  readonly #fetches = new SingleFlight<LocalImage>();

  /** @throws InvalidArgumentError for a path that is not absolute or a limit out of range. Touches nothing. */
  constructor(options: DirectoryImageStoreOptions) {
    const { directory, commands, qemuImgLimits, clock = systemClock } = options;
    this.#directory = checkDirectory(directory, "directory");
    const cache = checkDirectory(options.cacheDirectory ?? join(directory, CACHE), "cacheDirectory");
    const limit = check.integer({ min: 1 });
    this.#maxImageBytes = limit(options.maxImageBytes ?? Number.MAX_SAFE_INTEGER, "maxImageBytes");
    this.#maxVirtualSizeBytes = limit(options.maxVirtualSizeBytes ?? 64 * 1024 ** 4, "maxVirtualSizeBytes");
    this.#staging = new StagingArea(join(directory, STAGING));
    this.#cache = new ImageCache(cache, clock);
    this.#partials = new PartialDownloads(join(directory, PARTIAL), clock);
    this.#clock = clock;
    this.#qemuImg = new QemuImg({
      ...(commands === undefined ? {} : { commands }),
      ...(qemuImgLimits === undefined ? {} : { limits: qemuImgLimits }),
    });
  }

  /**
   * Takes an image in: a file, a stream, or what a URL gives. Its bytes are hashed and bounded as they come. A connection that
   * breaks off is made again, and goes on where the server can do that and has not changed the image. Rejects with
   * `ConflictError` when there is an image of the id, `ImageUnacceptableError` when the bytes are too many, not of the format, refer
   * to other files or contradict the record's sizes or checksum, `ImageTransferError`, and `DiskFullError`. On failure or abort
   * nothing is left but what `http.keepPartialMs` asks to keep; with that, `LockedError` when another import has it.
   */
  async import(request: ImportImageRequest, options: TransferOptions = {}): Promise<ImageMetadata> {
    const { metadata, intake } = intakeOf(request, this.#partials, this.#clock);
    return this.#take(metadata, intake, options);
  }

  async upload(metadata: ImageMetadata, path: string, options: TransferOptions = {}): Promise<ImageMetadata> {
    return this.import({ ...metadata, path }, options);
  }

  async describe(imageId: string): Promise<ImageMetadata> {
    const image = await this.#read(checkImageId(imageId, "imageId"));
    if (image === undefined) throw new ImageNotFoundError(`there is no image ${imageId}`);
    return image;
  }

  /** All images, by id. */
  async list(): Promise<readonly ImageMetadata[]> {
    const ids = (await namesIn(this.#directory)).filter((name) => !name.startsWith(".")).sort();
    const images = await Promise.all(ids.map((id) => this.#read(id)));
    return images.filter((image) => image !== undefined);
  }

  async fetch(imageId: string, options: TransferOptions = {}): Promise<LocalImage> {
    const id = checkImageId(imageId, "imageId");
    return this.#fetches.run(id, options, (shared) => this.#fetch(id, shared));
  }

  /** Guests whose disks are overlays of it keep it: it stays in the cache until `ageCache` drops it. */
  async delete(imageId: string): Promise<void> {
    const id = checkImageId(imageId, "imageId");
    try {
      const gone = await this.#staging.takeAway(join(this.#directory, id));
      if (gone !== undefined) await rm(gone, { recursive: true, force: true });
    } catch (error) {
      throw await storageFailure(error, "deleting the image", this.#directory);
    }
  }

  async isCached(imageId: string): Promise<boolean> {
    const image = await this.#read(checkImageId(imageId, "imageId"));
    return image !== undefined && this.#cache.has(image);
  }

  async ageCache(inUse: ReadonlySet<string>, unusedForMs: number): Promise<readonly string[]> {
    check.number({ min: 0 })(unusedForMs, "unusedForMs");
    return this.#cache.age(inUse, unusedForMs);
  }

  async #fetch(id: string, options: TransferOptions): Promise<LocalImage> {
    const image = await this.#read(id);
    if (image === undefined) throw new ImageNotFoundError(`there is no image ${id}`);
    try {
      const path = (await this.#cache.find(image)) ?? (await this.#cache.add(image, this.#fileOf(image), options));
      return { id, path, format: image.format, virtualSizeBytes: image.virtualSizeBytes };
    } catch (error) {
      if (errnoOf(error) === "ENOENT") throw await this.#missing(id, error);
      throw await storageFailure(error, "fetching the image", this.#directory);
    }
  }

  /** Deleted while it was being fetched, or without its bytes. */
  async #missing(id: string, cause: unknown): Promise<Error> {
    if ((await this.#read(id)) === undefined) return new ImageNotFoundError(`there is no image ${id}`, { cause });
    return new ImageUnacceptableError("the image's bytes are not there", { cause });
  }

  async #take(metadata: ImageMetadata, intake: Intake, options: TransferOptions): Promise<ImageMetadata> {
    const wanted = checkImageMetadata(metadata, "metadata");
    await intake.check();
    throwIfAborted(options.signal);
    try {
      if ((await this.#read(wanted.id)) !== undefined) throw taken(wanted.id);
      await this.#staging.sweep();
      await this.#partials.sweep();
      return await this.#staging.use((staged) => this.#store(wanted, intake, staged, options));
    } catch (error) {
      throw await storageFailure(error, "storing the image", this.#directory);
    }
  }

  async #store(wanted: ImageMetadata, intake: Intake, staged: string, options: TransferOptions): Promise<StoredImage> {
    const file = join(staged, `image.${wanted.format}`);
    const algorithm = wanted.checksum?.startsWith("sha512:") === true ? "sha512" : "sha256";
    // Where the file is the disk, its size says at once whether it is too large.
    const largest = qemuFormatOf(wanted.format) === "raw" ? this.#maxVirtualSizeBytes : Infinity;
    const maxBytes = Math.min(this.#maxImageBytes, largest);
    const copied = await intake.write(file, wanted, { ...options, checksum: algorithm, maxBytes });
    const image: StoredImage = {
      ...wanted,
      sizeBytes: copied.bytes,
      virtualSizeBytes: await inspectImage(file, wanted.format, this.#qemuImg, {
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        maxVirtualSizeBytes: this.#maxVirtualSizeBytes,
      }),
      checksum: copied.checksum,
    };
    for (const key of ["sizeBytes", "virtualSizeBytes", "checksum"] as const) {
      if (wanted[key] === undefined || wanted[key] === image[key]) continue;
      throw new ImageUnacceptableError(`the image's ${key} is ${image[key]}, not ${wanted[key]}`);
    }
    await writeFile(join(staged, RECORD), formatImageRecord(image), { mode: 0o600, flush: true });
    throwIfAborted(options.signal);
    await this.#publish(staged, wanted.id);
    return image;
  }

  async #publish(staged: string, id: string): Promise<void> {
    try {
      await rename(staged, join(this.#directory, id));
    } catch (error) {
      throw TAKEN.has(errnoOf(error) ?? "") ? taken(id) : error;
    }
    const directory = await open(this.#directory, "r");
    await directory.sync().finally(() => directory.close());
  }

  async #read(id: string): Promise<StoredImage | undefined> {
    const image = await readImageRecord(join(this.#directory, id, RECORD));
    return image?.id === id ? image : undefined;
  }

  #fileOf(image: StoredImage): string {
    return join(this.#directory, image.id, `image.${image.format}`);
  }
}

function checkDirectory(path: string, field: string): string {
  return check.absolutePath()(path, field);
}

function taken(id: string): ConflictError {
  return new ConflictError(`there is an image ${id} already`);
}

/** Images on this host that guests' disks are overlays of; they outlive their image in the store for as long as they are in use. */
import { createHash } from "node:crypto";
import { link, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BusyError, throwIfAborted } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import { lockUnlessHeld } from "../lock-unless-held.js";
import { copyFile } from "../copy-file.js";
import type { CopyResult } from "../copy-file.js";
import { ImageUnacceptableError } from "../errors.js";
import { formatImageRecord, readImageRecord } from "./image-record.js";
import type { StoredImage } from "./image-record.js";
import type { TransferOptions } from "./image-store.js";
import { namesIn, StagingArea } from "../staging-area.js";
import { errnoOf } from "../storage-failure.js";

const RECORD = "image.json";
const STAGING = ".staging";
const LOCKS = ".locks";
const PUBLISH_ATTEMPTS = 16;
const LONGEST_PAUSE_MS = 500;
/** The file system does not link across devices, not at all, or not this file any more. */
const CANNOT_LINK = new Set(["EXDEV", "EPERM", "EMLINK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]);
const TAKEN = new Set(["ENOTEMPTY", "EEXIST"]);

/**
 * A directory of entries `<image id>@<hash>/`, each renamed into its place complete. Several processes may use it at once:
 * none sees half an entry, and none takes away what another has just been given. The time of an entry's last use is
 * the modification time of its record.
 */
export class ImageCache {
  readonly #directory: string;
  readonly #staging: StagingArea;
  readonly #clock: Clock;

  constructor(directory: string, clock: Clock) {
    this.#directory = directory;
    this.#staging = new StagingArea(join(directory, STAGING));
    this.#clock = clock;
  }

  /** The file of the image, marked as used now; undefined when the image is not cached. */
  async find(image: StoredImage): Promise<string | undefined> {
    const entry = this.#entryOf(image);
    if (!(await this.#touch(entry))) return undefined;
    return (await fileSize(fileOf(entry, image))) === image.sizeBytes ? fileOf(entry, image) : undefined;
  }

  /** Whether `find` would find it; does not count as a use. */
  async has(image: StoredImage): Promise<boolean> {
    return (await fileSize(fileOf(this.#entryOf(image), image))) === image.sizeBytes;
  }

  /**
   * Takes the image's file in, by a hard link where that can be done, else by a copy, which of several processes only one makes.
   * Nothing partial is left on failure.
   */
  async add(image: StoredImage, source: string, options: TransferOptions): Promise<string> {
    await this.#staging.sweep();
    const entry = this.#entryOf(image);
    await this.#staging.use(async (staged) => {
      const file = fileOf(staged, image);
      if (await linkIfPossible(source, file)) {
        if ((await fileSize(file)) !== image.sizeBytes) throw otherBytes(source);
        return this.#finish(staged, entry, image, options);
      }
      await this.#alone(entry, options, async () => {
        if ((await this.find(image)) !== undefined) return;
        const { bytes, checksum } = await copyWithChecksum(source, file, image, options);
        if (bytes !== image.sizeBytes || checksum !== image.checksum) throw otherBytes(source);
        await this.#finish(staged, entry, image, options);
      });
    });
    return fileOf(entry, image);
  }

  /** Drops what was last used longer than `unusedForMs` ago and is not `inUse`; resolves to the ids. */
  async age(inUse: ReadonlySet<string>, unusedForMs: number): Promise<readonly string[]> {
    await this.#staging.sweep();
    const before = this.#clock.now() - unusedForMs;
    const dropped: string[] = [];
    for (const name of await namesIn(this.#directory)) {
      if (name.startsWith(".")) continue;
      const entry = join(this.#directory, name);
      const image = await readImageRecord(join(entry, RECORD));
      if (image === undefined || inUse.has(image.id) || (await lastUse(entry)) >= before) continue;
      if (await this.#drop(entry, before)) dropped.push(image.id);
    }
    return [...new Set(dropped)];
  }

  /** Two steps: whoever used the entry while it was being taken away finds it in its place again. */
  async #drop(entry: string, before: number): Promise<boolean> {
    const taken = await this.#staging.takeAway(entry);
    if (taken === undefined) return false;
    const usedMeanwhile = (await lastUse(taken)) >= before;
    if (usedMeanwhile && (await renameUnlessTaken(taken, entry))) return false;
    await rm(taken, { recursive: true, force: true });
    return true;
  }

  async #finish(staged: string, entry: string, image: StoredImage, options: TransferOptions): Promise<void> {
    await writeFile(join(staged, RECORD), formatImageRecord(image), { mode: 0o600, flush: true });
    await this.#stamp(join(staged, RECORD));
    throwIfAborted(options.signal);
    for (let attempt = 1; !(await this.#publish(staged, entry, image)); attempt++) {
      if (attempt === PUBLISH_ATTEMPTS)
        throw new BusyError("the image's place in the cache is taken again and again", { detail: entry });
    }
  }

  /** False when the place was taken by what is not whole; that is out of the way then. */
  async #publish(staged: string, entry: string, image: StoredImage): Promise<boolean> {
    if (await renameUnlessTaken(staged, entry)) return true;
    if ((await this.#touch(entry)) && (await this.has(image))) return true;
    // An entry that is there and is not whole: somebody has altered it by hand.
    const broken = await this.#staging.takeAway(entry);
    if (broken !== undefined) await rm(broken, { recursive: true, force: true });
    return false;
  }

  /** Waits for other processes that do the same. One that is killed tells nobody: so this asks again and again, ever less often. */
  async #alone(entry: string, { signal }: TransferOptions, work: () => Promise<void>): Promise<void> {
    const name = createHash("sha256").update(entry).digest("hex").slice(0, 32);
    for (let pauseMs = 20; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
      const lock = await lockUnlessHeld(join(this.#directory, LOCKS), name);
      if (lock === undefined) {
        await this.#clock.sleep(pauseMs, signal === undefined ? {} : { signal });
        continue;
      }
      try {
        return await work();
      } finally {
        await lock.release();
      }
    }
  }

  async #touch(entry: string): Promise<boolean> {
    try {
      await this.#stamp(join(entry, RECORD));
      return true;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return false;
      throw error;
    }
  }

  async #stamp(path: string): Promise<void> {
    const now = this.#clock.now() / 1000;
    await utimes(path, now, now);
  }

  /** One a content: an image that is imported anew under an old id never changes what existing overlays stand on. */
  #entryOf(image: StoredImage): string {
    const hash = createHash("sha256").update(`${image.id}\n${image.format}\n${image.checksum}`).digest("hex");
    return join(this.#directory, `${image.id.slice(0, 64)}@${hash.slice(0, 32)}`);
  }
}

function fileOf(entry: string, image: StoredImage): string {
  return join(entry, `image.${image.format}`);
}

function otherBytes(source: string): ImageUnacceptableError {
  return new ImageUnacceptableError("the image's bytes are not those that its record describes", { detail: source });
}

function copyWithChecksum(
  source: string,
  target: string,
  image: StoredImage,
  options: TransferOptions,
): Promise<CopyResult> {
  const checksum = image.checksum.startsWith("sha512:") ? "sha512" : "sha256";
  return copyFile(source, target, { ...options, checksum, maxBytes: image.sizeBytes });
}

async function linkIfPossible(source: string, target: string): Promise<boolean> {
  try {
    await link(source, target);
    return true;
  } catch (error) {
    if (CANNOT_LINK.has(errnoOf(error) ?? "")) return false;
    throw error;
  }
}

async function renameUnlessTaken(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (TAKEN.has(errnoOf(error) ?? "")) return false;
    throw error;
  }
}

/** -1 when the entry is not there. */
async function lastUse(entry: string): Promise<number> {
  const stats = await stat(join(entry, RECORD)).catch(() => undefined);
  return stats?.mtimeMs ?? -1;
}

async function fileSize(path: string): Promise<number | undefined> {
  const stats = await stat(path).catch(() => undefined);
  return stats?.isFile() === true ? stats.size : undefined;
}

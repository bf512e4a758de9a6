/** What has come of images whose transfer broke off, kept for a while so that the next import may go on from there. */
import { createHash } from "node:crypto";
import { readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { check, isHyperviseError } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import { acquireFileLock, readJsonFile, writeFileAtomic } from "../../host/index.js";
import { lockUnlessHeld } from "../lock-unless-held.js";
import { makeDirectory } from "../make-directory.js";
import { namesIn } from "../staging-area.js";

/** The bytes that are kept, and what they are of. */
export interface PartialDownload {
  /** Of the bytes; there need be no file yet. */
  readonly path: string;
  readonly validator: string | undefined;
  /** Says what the bytes that come from now on are of. */
  note(this: void, validator: string | undefined): Promise<void>;
  /** The bytes are whole: they get another place on the same file system. */
  take(to: string): Promise<void>;
}

const BYTES = "bytes";
const STATE = "state.json";
const LOCK = "import";
/** What has no readable state is dropped when it was not touched for so long. */
const UNREADABLE_AGE_MS = 24 * 3_600_000;

const checkState = check.object({
  version: check.oneOf([1]),
  validator: check.nullable(check.string({ max: 1024 })),
  keepUntil: check.number({ min: 0 }),
  bootId: check.string({ max: 64 }),
});
type State = ReturnType<typeof checkState>;

/** `<directory>/<hash of id and URL>/`: one import at a time has it, in whatever process. */
export class PartialDownloads {
  readonly #directory: string;
  readonly #clock: Clock;

  constructor(directory: string, clock: Clock) {
    this.#directory = directory;
    this.#clock = clock;
  }

  /**
   * Lends what is kept for the image from the URL, for as long as `use` runs; what it has not taken then stays for `keepMs`.
   * Rejects with `LockedError` when another import has it.
   */
  async use<T>(id: string, url: URL, keepMs: number, use: (partial: PartialDownload) => Promise<T>): Promise<T> {
    const entry = join(this.#directory, createHash("sha256").update(`${id}\n${url.href}`).digest("hex"));
    await makeDirectory(this.#directory);
    const lock = await acquireFileLock(entry, { name: LOCK });
    try {
      const bootId = await readBootId();
      const kept = await this.#read(entry);
      const usable = kept?.bootId === bootId && kept.keepUntil > this.#clock.now();
      if (!usable) await rm(join(entry, BYTES), { force: true });
      let taken = false;
      let validator = usable ? (kept.validator ?? undefined) : undefined;
      const write = (): Promise<void> => {
        const keepUntil = this.#clock.now() + keepMs;
        const state: State = { version: 1, validator: validator ?? null, keepUntil, bootId };
        return writeFileAtomic(join(entry, STATE), JSON.stringify(state), { mode: 0o600 });
      };
      try {
        return await use({
          path: join(entry, BYTES),
          validator,
          note: (noted) => {
            validator = noted;
            return write();
          },
          take: async (to) => {
            await rename(join(entry, BYTES), to);
            taken = true;
          },
        });
      } finally {
        if (taken || !(await hasBytes(entry))) await rm(entry, { recursive: true, force: true });
        else await write();
      }
    } finally {
      await lock.release();
    }
  }

  /** Drops what is kept longer than it was to be, unless an import has it. */
  async sweep(): Promise<void> {
    for (const name of await namesIn(this.#directory)) {
      const entry = join(this.#directory, name);
      if (!(await this.#isOver(entry))) continue;
      const lock = await lockUnlessHeld(entry, LOCK);
      if (lock === undefined) continue;
      try {
        if (await this.#isOver(entry)) await rm(entry, { recursive: true, force: true });
      } finally {
        await lock.release();
      }
    }
  }

  async #isOver(entry: string): Promise<boolean> {
    const state = await this.#read(entry);
    if (state !== undefined) return state.keepUntil <= this.#clock.now();
    const stats = await stat(entry).catch(() => undefined);
    return stats !== undefined && this.#clock.now() - stats.mtimeMs > UNREADABLE_AGE_MS;
  }

  /** A state that can't be read is none: its bytes are fetched again. */
  async #read(entry: string): Promise<State | undefined> {
    try {
      return checkState(await readJsonFile(join(entry, STATE)), "state");
    } catch (error) {
      if (isHyperviseError(error)) return undefined;
      throw error;
    }
  }
}

async function hasBytes(entry: string): Promise<boolean> {
  return ((await stat(join(entry, BYTES)).catch(() => undefined))?.size ?? 0) > 0;
}

/** After a loss of power the bytes that came last may be missing: they are of this boot or of no use. */
async function readBootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
}

/** The log of a directory: a row of files, each of which begins with all the records of the one before. */
import { randomUUID } from "node:crypto";
import { readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { StateCorruptError } from "../../../core/index.js";
import { HostIoError, ensureDirectory } from "../../../host/index.js";
import type { EncodedChange } from "../record-table.js";
import { RecordTable } from "../record-table.js";
import { StoreUnavailableError } from "../store-errors.js";
import { LogFile, createLogFile } from "./log-file.js";
import type { CommitOutcome } from "./log-replay.js";

const FILE = /^networks-(\d{1,12})\.log$/;
const TEMPORARY = /^\.networks-(\d{1,12})\.[0-9a-f-]{36}\.tmp$/;
/** How often a file may be ended by others while one waits to append. */
const ATTEMPTS = 100;

/** Calls must not overlap; other processes may use the directory at the same time. */
export class NetworkLog {
  readonly #directory: string;
  readonly #maxBytes: number;
  #current: { readonly file: LogFile; readonly generation: number } | undefined;

  constructor(directory: string, maxBytes: number) {
    this.#directory = directory;
    this.#maxBytes = maxBytes;
  }

  /** The records as they are now. */
  async refresh(): Promise<RecordTable> {
    return (await this.#follow(async () => true)).replay.table;
  }

  /** Appends commits and says what became of each. They are on the disk when this resolves. */
  async append(commits: readonly (readonly EncodedChange[])[]): Promise<readonly CommitOutcome[]> {
    const id = randomUUID();
    let outcomes: readonly CommitOutcome[] | undefined;
    const file = await this.#follow(async (latest) => {
      outcomes = await latest.append(id, commits);
      return outcomes !== undefined;
    });
    // What was committed stays committed, whatever becomes of the next file.
    if (file.replay.offset > Math.max(this.#maxBytes, 2 * file.replay.headBytes))
      await file.seal().catch(() => undefined);
    return outcomes ?? [];
  }

  /** The next call opens the log anew. */
  async close(): Promise<void> {
    await this.#current?.file.close();
    this.#current = undefined;
  }

  /** Does something with the last file; again with the next one, when the file turns out to have ended. */
  async #follow(use: (file: LogFile) => Promise<boolean>): Promise<LogFile> {
    try {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const file = await this.#latest();
        if (await use(file)) return file;
      }
    } catch (error) {
      await this.close();
      throw error;
    }
    throw new StoreUnavailableError("the log of networks was ended again and again by other processes");
  }

  async #latest(): Promise<LogFile> {
    if (this.#current !== undefined) await this.#current.file.read();
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const current = this.#current;
      if (current !== undefined && !current.file.replay.sealed) return current.file;
      if (current !== undefined) await this.#create(current.generation + 1, current.file.replay.table);
      await this.close();
      this.#current = await this.#openHighest();
    }
    throw new StoreUnavailableError("the log of networks can't be opened: its files come and go");
  }

  async #openHighest(): Promise<{ readonly file: LogFile; readonly generation: number } | undefined> {
    await ensureDirectory(this.#directory);
    const generation = Math.max(0, ...numbersOf(await this.#list(), FILE));
    if (generation === 0) {
      await this.#create(1, new RecordTable());
      return undefined;
    }
    const path = this.#pathOf(generation);
    const file = await LogFile.open(path);
    if (file === undefined) return undefined;
    if (!file.replay.begun) {
      await file.close();
      throw new StateCorruptError("a log of networks can't be read", {
        detail: `${path} does not begin as one`,
        remedy: "Restore the file from a copy, or remove it with what it describes.",
      });
    }
    await this.#sweep(generation);
    return { file, generation };
  }

  async #create(generation: number, table: RecordTable): Promise<void> {
    const temporary = join(this.#directory, `.networks-${generation}.${randomUUID()}.tmp`);
    await createLogFile(this.#pathOf(generation), temporary, generation, table);
  }

  /** Removes the files before this one, and what was to become this one or one before. */
  async #sweep(generation: number): Promise<void> {
    for (const name of await this.#list()) {
      const file = FILE.exec(name)?.[1];
      const temporary = TEMPORARY.exec(name)?.[1];
      const isOld = Number(file ?? Infinity) < generation || Number(temporary ?? Infinity) <= generation;
      if (isOld) await unlink(join(this.#directory, name)).catch(() => undefined);
    }
  }

  async #list(): Promise<string[]> {
    try {
      return await readdir(this.#directory);
    } catch (error) {
      throw new HostIoError({ operation: "listing a directory", path: this.#directory, cause: error });
    }
  }

  #pathOf(generation: number): string {
    return join(this.#directory, `networks-${generation}.log`);
  }
}

function numbersOf(names: readonly string[], pattern: RegExp): number[] {
  return names.flatMap((name) => pattern.exec(name)?.[1] ?? []).map(Number);
}

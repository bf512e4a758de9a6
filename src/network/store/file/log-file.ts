/** One file of the log: read to its end, and appended to. */
import { constants } from "node:fs";
import { link, open, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { HostIoError, errnoName } from "../../../host/index.js";
import type { RecordTable, TableRecord } from "../record-table.js";
import { StoreUnavailableError } from "../store-errors.js";
import { encodeEntry } from "./log-format.js";
import type { LogEntry } from "./log-format.js";
import { LogReplay } from "./log-replay.js";
import type { CommitOutcome } from "./log-replay.js";

const CHUNK = 64 * 1024;
const LARGE_CHUNK = 4 * 1024 * 1024;
const SNAPSHOT_RECORDS = 1_000;

/** A file of the log that is open. Calls must not overlap. */
export class LogFile {
  readonly path: string;
  readonly replay: LogReplay;
  readonly #handle: FileHandle;
  readonly #outcomes = new Map<string, readonly CommitOutcome[]>();
  #durable: { readonly offset: number; readonly sum: string } | undefined;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
    this.replay = new LogReplay(path);
  }

  /** Opens a file that is there and reads it; undefined when it is not there. */
  static async open(path: string): Promise<LogFile | undefined> {
    let handle: FileHandle;
    try {
      handle = await open(path, constants.O_RDWR | constants.O_APPEND);
    } catch (error) {
      if (errnoName(error) === "ENOENT") return undefined;
      throw new HostIoError({ operation: "opening a log", path, cause: error });
    }
    const file = new LogFile(path, handle);
    try {
      await file.read();
      await file.sync();
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Takes what has been appended, by whomever. */
  async read(awaited?: string): Promise<void> {
    let size = CHUNK;
    for (;;) {
      const offset = this.replay.offset;
      const bytes = await this.#readAt(offset, size);
      this.replay.take(bytes, (id, outcomes) => {
        if (id === awaited) this.#outcomes.set(id, outcomes);
      });
      if (bytes.length < size || this.replay.sealed) return;
      // There is more; where nothing was taken, a line is longer than what was read.
      size = this.replay.offset === offset ? size * 2 : Math.max(size, LARGE_CHUNK);
    }
  }

  /**
   * Appends commits and says what became of each; undefined when the file was sealed before they came.
   * @throws HostIoError when nothing was written; StoreUnavailableError when nobody can know.
   */
  async append(
    id: string,
    commits: Extract<LogEntry, { type: "commits" }>["commits"],
  ): Promise<readonly CommitOutcome[] | undefined> {
    const whole = await this.#write(encodeEntry({ type: "commits", id, known: this.#durable, commits }));
    await this.read(id);
    const outcomes = this.#outcomes.get(id);
    this.#outcomes.delete(id);
    if (outcomes === undefined && !whole && !this.replay.sealed)
      throw new HostIoError({ operation: "writing a log", path: this.path, errno: "ENOSPC" });
    if (outcomes !== undefined) await this.sync();
    return outcomes;
  }

  /** Ends the file for all. */
  async seal(): Promise<void> {
    await this.#write(encodeEntry({ type: "seal" }));
    await this.sync();
    await this.read();
  }

  /** What has been read is on the disk when this resolves. */
  async sync(): Promise<void> {
    const { known } = this.replay;
    try {
      await this.#handle.datasync();
    } catch (error) {
      throw unknownOutcome(this.path, error);
    }
    this.#durable = known;
  }

  async close(): Promise<void> {
    await this.#handle.close().catch(() => undefined);
  }

  /** Whether all of it was written. A part without an end is given one: it is then no entry, or after all the whole. */
  async #write(bytes: Buffer): Promise<boolean> {
    let written: number;
    try {
      ({ bytesWritten: written } = await this.#handle.write(bytes));
    } catch (error) {
      throw new HostIoError({ operation: "writing a log", path: this.path, cause: error });
    }
    if (written === bytes.length) return true;
    try {
      await this.#handle.write("\n");
    } catch (error) {
      throw unknownOutcome(this.path, error);
    }
    return false;
  }

  async #readAt(offset: number, size: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(size);
    let length = 0;
    try {
      while (length < size) {
        const { bytesRead } = await this.#handle.read(buffer, length, size - length, offset + length);
        if (bytesRead === 0) break;
        length += bytesRead;
      }
    } catch (error) {
      throw new HostIoError({ operation: "reading a log", path: this.path, cause: error });
    }
    return buffer.subarray(0, length);
  }
}

function unknownOutcome(path: string, cause: unknown): StoreUnavailableError {
  return new StoreUnavailableError("the log of networks can't be written", {
    outcomeUnknown: true,
    detail: path,
    cause,
  });
}

/** Makes a file that begins with these records, in one step; one that is there stays as it is. */
export async function createLogFile(
  path: string,
  temporary: string,
  generation: number,
  table: RecordTable,
): Promise<void> {
  try {
    const handle = await open(
      temporary,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    );
    try {
      await handle.writeFile(encodeEntry({ type: "begin", generation }));
      let records: TableRecord[] = [];
      const flush = async (): Promise<void> => {
        await handle.writeFile(encodeEntry({ type: "snapshot", records, lastVersion: table.lastVersion }));
        records = [];
      };
      for (const record of table.records()) {
        records.push(record);
        if (records.length === SNAPSHOT_RECORDS) await flush();
      }
      await flush();
      await handle.sync();
    } finally {
      await handle.close();
    }
    await link(temporary, path).catch((error: unknown) => {
      // Another process was faster; or so much so that it has swept this file away.
      if (!["EEXIST", "ENOENT"].includes(errnoName(error) ?? "")) throw error;
    });
    await syncDirectory(dirname(path));
  } catch (error) {
    throw new HostIoError({ operation: "making a log", path, cause: error });
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** State records as files of a directory: one JSON file a key, replaced atomically, with a checksum. */
import { createHash } from "node:crypto";
import { readdir, rmdir, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { KeyedLock, NotSupportedError, StateCorruptError, checkStateKey, cloneJson } from "../core/index.js";
import type { JsonValue, StateStore } from "../core/index.js";
import { ensureDirectory, readJsonFile, removeFile, writeFileAtomic } from "./atomic-file.js";
import { HostIoError, errnoName } from "./errors.js";
import { formatMark, isMarkAlive, newMark, parseMark } from "./process-mark.js";

/** Where a {@link FileStateStore} keeps its files. */
export interface FileStateStoreOptions {
  /** An absolute path; made, with mode 0700, when it is missing. */
  readonly dir: string;
  /** Only reads, beside a process that writes: nothing is made or swept away. `put` and `delete` reject with `NotSupportedError`. Default false. */
  readonly readOnly?: boolean;
}

const VERSION = 1;
const SUFFIX = ".json";
const TEMPORARY = /^\.state-(.+)\.tmp$/;

/**
 * {@link StateStore} in a directory: key `a/b` is the file `a/b.json`, of mode 0600. A value is on the disk when `put`
 * resolves. One process at a time may use the directory (see `acquireFileLock`); what a process that was killed left
 * half-written is removed at the first use.
 */
export class FileStateStore implements StateStore {
  readonly dir: string;
  readonly #locks = new KeyedLock();
  readonly #readOnly: boolean;
  #ready: Promise<void> | undefined;

  constructor(options: FileStateStoreOptions) {
    this.dir = options.dir;
    this.#readOnly = options.readOnly ?? false;
  }

  async get(key: string): Promise<JsonValue | undefined> {
    const path = this.#pathOf(key);
    await this.#prepare();
    const content = await readJsonFile(path);
    return content === undefined ? undefined : open(content, path);
  }

  async put(key: string, value: JsonValue): Promise<void> {
    this.#requireWritable();
    const path = this.#pathOf(key);
    const text = seal(cloneJson(value, key));
    await this.#prepare();
    await this.#locks.run(key, () => this.#write(path, text));
  }

  async delete(key: string): Promise<void> {
    this.#requireWritable();
    const path = this.#pathOf(key);
    await this.#prepare();
    await this.#locks.run(key, async () => {
      await removeFile(path);
      await this.#pruneDirectories(dirname(path));
    });
  }

  async list(prefix: string): Promise<readonly string[]> {
    await this.#prepare();
    const keys: string[] = [];
    // The directory part of the prefix is where all of its keys are.
    const start = prefix.split("/").slice(0, -1);
    if (start.some((part) => part === "" || part.startsWith("."))) return [];
    await this.#walk(start, (key) => void (key.startsWith(prefix) ? keys.push(key) : undefined));
    return keys.sort();
  }

  #pathOf(key: string): string {
    checkStateKey(key);
    return join(this.dir, `${key}${SUFFIX}`);
  }

  /** A directory may be pruned by a deletion between being made and being used. */
  async #write(path: string, text: string): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      await ensureDirectory(dirname(path));
      try {
        return await writeFileAtomic(path, text, { temporaryName: `.state-${formatMark(await newMark())}.tmp` });
      } catch (error) {
        if (attempt === 5 || !(error instanceof HostIoError) || error.errno !== "ENOENT") throw error;
      }
    }
  }

  /** Directories below the first level go with their last file; those of the first level, of which there are few, stay. */
  async #pruneDirectories(directory: string): Promise<void> {
    for (let path = directory; dirname(path) !== this.dir && path !== this.dir; path = dirname(path)) {
      const removed = await rmdir(path).then(
        () => true,
        () => false,
      );
      if (!removed) return;
    }
  }

  #requireWritable(): void {
    if (this.#readOnly) throw new NotSupportedError({ capability: "writing to a state that is open for reading" });
  }

  #prepare(): Promise<void> {
    if (this.#readOnly) return Promise.resolve();
    this.#ready ??= this.#sweep().catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    return this.#ready;
  }

  async #sweep(): Promise<void> {
    await ensureDirectory(this.dir);
    await this.#walk(
      [],
      () => undefined,
      async (path, name) => {
        const mark = parseMark(TEMPORARY.exec(name)?.[1] ?? "");
        if (mark !== undefined && !(await isMarkAlive(mark))) await unlink(path).catch(() => undefined);
      },
    );
  }

  async #walk(
    parts: readonly string[],
    onKey: (key: string) => void,
    onOther: (path: string, name: string) => Promise<void> = async () => undefined,
  ): Promise<void> {
    const directory = join(this.dir, ...parts);
    for (const entry of await readDirectory(directory)) {
      const { name } = entry;
      if (entry.isDirectory() && !name.startsWith(".")) await this.#walk([...parts, name], onKey, onOther);
      else if (entry.isFile() && name.endsWith(SUFFIX) && !name.startsWith("."))
        onKey([...parts, name.slice(0, -SUFFIX.length)].join("/"));
      else await onOther(join(directory, name), name);
    }
  }
}

async function readDirectory(
  path: string,
): Promise<readonly { name: string; isFile(): boolean; isDirectory(): boolean }[]> {
  try {
    return await readdir(path, { withFileTypes: true });
  } catch (error) {
    if (errnoName(error) === "ENOENT") return [];
    throw new HostIoError({ operation: "listing a directory", path, cause: error });
  }
}

function seal(value: JsonValue): string {
  return `${JSON.stringify({ format: "hypervise-state", version: VERSION, checksum: checksumOf(value), value })}\n`;
}

function open(content: unknown, path: string): JsonValue {
  const { format, version, checksum, value } = (typeof content === "object" && content !== null ? content : {}) as {
    readonly [key: string]: JsonValue | undefined;
  };
  const corrupt = (what: string): StateCorruptError =>
    new StateCorruptError("a state file can't be read", {
      detail: `${path}: ${what}`,
      remedy: "Restore the file, or remove it with what it describes.",
    });
  if (format !== "hypervise-state") throw corrupt("not a state file");
  if (version !== VERSION) throw corrupt(`version ${JSON.stringify(version)} is not known to this release`);
  if (value === undefined || checksum !== checksumOf(value)) throw corrupt("the checksum does not match");
  return value;
}

function checksumOf(value: JsonValue): string {
  return `sha256:${createHash("sha256").update(JSON.stringify(value)).digest("hex")}`;
}

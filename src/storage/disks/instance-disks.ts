/** The directory of one instance's disks: its paths, its index, and the few changes that are made to it. */
import { constants } from "node:fs";
import { link, lstat, open, readFile, rename, rm, rmdir, stat } from "node:fs/promises";
import type { Stats } from "node:fs";
import { basename, dirname, join } from "node:path";
import { writeFileAtomic } from "../../host/index.js";
import { EMPTY_INDEX, formatDiskIndex, isEmptyIndex, parseDiskIndex } from "./disk-index.js";
import type { DiskIndex, DiskRecord, ParkedState } from "./disk-index.js";
import { makeDirectory } from "../make-directory.js";
import type { FormattedFile } from "../qemu-img.js";
import { errnoOf, throwUnless } from "../storage-failure.js";

/** The changes to files that a back end makes, one by one; each leaves either the old or the new. */
export interface FileChanges {
  makeDirectory(path: string): Promise<void>;
  link(from: string, to: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Success when there is nothing. */
  remove(path: string): Promise<void>;
  removeEmptyDirectory(path: string): Promise<void>;
  write(path: string, text: string): Promise<void>;
  /** What was changed in the directory outlives a loss of power. */
  sync(directory: string): Promise<void>;
}

export const systemFileChanges: FileChanges = {
  makeDirectory,
  link,
  rename,
  remove: (path) => rm(path, { recursive: true, force: true }),
  removeEmptyDirectory: (path) => rmdir(path).catch(throwUnless("ENOENT", "ENOTEMPTY", "EEXIST")),
  write: async (path, text) => {
    await rm(unfinishedOf(path), { force: true });
    await writeFileAtomic(path, text, { mode: 0o600, temporaryName: basename(unfinishedOf(path)) });
  },
  sync: async (path) => {
    const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    await directory.sync().finally(() => directory.close());
  },
};

const INDEX = "disks.json";
const PARKED = "parked";

export class InstanceDisks {
  readonly uuid: string;
  readonly directory: string;
  readonly files: FileChanges;

  constructor(root: string, uuid: string, files: FileChanges) {
    this.uuid = uuid;
    this.directory = join(root, uuid);
    this.files = files;
  }

  diskFile(name: string, record: DiskRecord): FormattedFile {
    return { path: join(this.directory, `${name}.${record.format}`), format: record.format };
  }

  parkedDirectory(state: Pick<ParkedState, "id">): string {
    return join(this.directory, PARKED, String(state.id));
  }

  parkedFile(state: Pick<ParkedState, "id">, name: string, record: DiskRecord): FormattedFile {
    return { path: join(this.parkedDirectory(state), `${name}.${record.format}`), format: record.format };
  }

  /** Where a file is made before it is renamed to `path`; what a dead process left there is overwritten. */
  unfinished(path: string): string {
    return unfinishedOf(path);
  }

  /** @throws StateCorruptError when it can't be read. */
  async readIndex(): Promise<DiskIndex> {
    const path = join(this.directory, INDEX);
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return EMPTY_INDEX;
      throw error;
    }
    return parseDiskIndex(text, path);
  }

  /** Durable when it resolves. An index of nothing takes the directory away, unless something else is in it. */
  async writeIndex(index: DiskIndex): Promise<void> {
    if (!isEmptyIndex(index)) {
      await this.files.makeDirectory(this.directory);
      return this.files.write(join(this.directory, INDEX), formatDiskIndex(index));
    }
    await this.files.remove(join(this.directory, INDEX));
    await this.files.remove(unfinishedOf(join(this.directory, INDEX)));
    await this.files.removeEmptyDirectory(join(this.directory, PARKED));
    await this.files.removeEmptyDirectory(this.directory);
  }

  /** Renames a finished file into its place. */
  async finish(path: string): Promise<void> {
    await this.files.rename(this.unfinished(path), path);
  }

  async removeParkedDirectory(state: Pick<ParkedState, "id">): Promise<void> {
    await this.files.remove(this.parkedDirectory(state));
    await this.files.removeEmptyDirectory(dirname(this.parkedDirectory(state)));
  }
}

function unfinishedOf(path: string): string {
  return `${path}.unfinished`;
}

/** Undefined when there is nothing at the path. */
export async function statIfThere(path: string): Promise<Stats | undefined> {
  return stat(path).catch(throwUnless("ENOENT"));
}

export async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(throwUnless("ENOENT"))) !== undefined;
}

/** Whether two paths are names of one file. */
export async function isSameFile(a: string, b: string): Promise<boolean> {
  const identity = async (path: string): Promise<string | undefined> => {
    const stats = await stat(path, { bigint: true }).catch(throwUnless("ENOENT"));
    return stats === undefined ? undefined : `${stats.dev}:${stats.ino}`;
  };
  const [first, second] = await Promise.all([identity(a), identity(b)]);
  return first !== undefined && first === second;
}

/** A pool whose volumes are raw files of a directory. Any of its changes may fail, or be the last of the process. */
import { constants } from "node:fs";
import { copyFile, open, readdir, rename, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import type { CommandRunner } from "../../../../src/host/index.js";
import { PoolDiskBackend } from "../../../../src/storage/index.js";
import type { DiskPool, DiskSource, PoolContent, PoolSpace, PoolVolume } from "../../../../src/storage/index.js";

export class FakePool implements DiskPool {
  readonly label = "the pool";
  readonly inUse = new Set<string>();
  readonly #directory: string;
  readonly #marks: Set<string>;
  /** Called before each change; throws to make it fail. */
  before: () => void = () => undefined;

  /** @param marks As they were, for the pool of another process. */
  constructor(directory: string, marks = new Set<string>()) {
    this.#directory = directory;
    this.#marks = marks;
  }

  checkName(): void {
    // All names will do.
  }

  async read(): Promise<PoolContent> {
    const names = (await readdir(this.#directory)).sort();
    const volumes = names.map(async (name) => ({ name, sizeBytes: (await stat(this.path(name))).size }));
    return { volumes: await Promise.all(volumes), marks: [...this.#marks] };
  }

  roundUp(sizeBytes: number): Promise<number> {
    return Promise.resolve(Math.ceil(sizeBytes / 4096) * 4096);
  }

  async create(name: string, sizeBytes: number): Promise<void> {
    this.before();
    await (await open(this.path(name), constants.O_CREAT | constants.O_EXCL | constants.O_RDWR)).close();
    await truncate(this.path(name), sizeBytes);
  }

  async grow({ name }: PoolVolume, sizeBytes: number): Promise<void> {
    this.before();
    await truncate(this.path(name), sizeBytes);
  }

  async remove(name: string): Promise<void> {
    this.before();
    await rm(this.path(name), { force: true });
  }

  async rename(from: string, to: string): Promise<void> {
    this.before();
    await copyFile(this.path(from), this.path(to), constants.COPYFILE_EXCL);
    await rename(this.path(from), this.path(to));
  }

  isInUse(name: string): Promise<boolean> {
    return Promise.resolve(this.inUse.has(name));
  }

  remark(from: string | undefined, to: string | undefined): Promise<void> {
    this.before();
    if (from !== undefined) this.#marks.delete(from);
    if (to !== undefined) this.#marks.add(to);
    return Promise.resolve();
  }

  allocatedBytes(volumes: readonly PoolVolume[]): Promise<ReadonlyMap<string, number>> {
    return Promise.resolve(new Map(volumes.map(({ name, sizeBytes }) => [name, sizeBytes / 4])));
  }

  space(): Promise<PoolSpace> {
    return Promise.resolve({ totalBytes: 100 * 1024 * 1024, freeBytes: 50 * 1024 * 1024 });
  }

  sourceOf(name: string): DiskSource {
    return { type: "block", path: this.path(name), format: "raw" };
  }

  imageOf(name: string): { readonly path: string; readonly format: "raw" } {
    return { path: this.path(name), format: "raw" };
  }

  path(name: string): string {
    return join(this.#directory, name);
  }
}

export class FakePoolBackend extends PoolDiskBackend {
  constructor(pool: DiskPool, directory: string, commands: CommandRunner) {
    super(pool, { directory, commands });
  }
}

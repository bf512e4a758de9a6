/** Lets what a back end does fail, or its process die, at the n-th of its steps. */
import { rename, writeFile } from "node:fs/promises";
import { systemFileChanges } from "../../../../src/storage/disks/instance-disks.js";
import type { FileChanges } from "../../../../src/storage/disks/instance-disks.js";
import type { CommandRunner } from "../../../../src/host/index.js";

/** As on the system, but never waiting for the disk: the death of a process loses nothing that was written. */
export const quickFiles: FileChanges = {
  ...systemFileChanges,
  write: async (path, text) => {
    await writeFile(`${path}.unfinished`, text);
    await rename(`${path}.unfinished`, path);
  },
  sync: () => Promise.resolve(),
};

/** Not an error that anything expects. */
export class Killed extends Error {
  override readonly name = "Killed";
}

/**
 * Counts changes of files and commands as steps. `failAt`: that step fails, and later ones work. `dieAt`: before that step
 * the process is gone, and nothing works any more.
 */
export class Steps {
  count = 0;
  readonly #mode: { readonly failAt?: number; readonly dieAt?: number };
  readonly #error: () => Error;
  #dead = false;

  constructor(
    mode: { readonly failAt?: number; readonly dieAt?: number } = {},
    error = () => new Killed("killed") as Error,
  ) {
    this.#mode = mode;
    this.#error = error;
  }

  readonly files: FileChanges = {
    makeDirectory: (path) => this.#step(() => quickFiles.makeDirectory(path)),
    link: (from, to) => this.#step(() => quickFiles.link(from, to)),
    rename: (from, to) => this.#step(() => quickFiles.rename(from, to)),
    remove: (path) => this.#step(() => quickFiles.remove(path)),
    removeEmptyDirectory: (path) => this.#step(() => quickFiles.removeEmptyDirectory(path)),
    write: (path, text) => this.#step(() => quickFiles.write(path, text)),
    sync: (directory) => this.#step(() => quickFiles.sync(directory)),
  };

  commands(runner: CommandRunner): CommandRunner {
    return { run: (argv, options) => this.#step(() => runner.run(argv, options)) };
  }

  async #step<T>(act: () => Promise<T>): Promise<T> {
    if (this.#dead) throw this.#error();
    const number = ++this.count;
    if (number === this.#mode.dieAt) this.#dead = true;
    if (this.#dead || number === this.#mode.failAt) throw this.#error();
    return act();
  }
}

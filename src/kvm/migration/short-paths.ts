/** Paths that fit a socket's address, whatever their length. */
import { closeSync, constants, openSync } from "node:fs";
import { basename, dirname } from "node:path";
import { fitsSocket } from "./addresses.js";

export class ShortPaths {
  readonly #directories: number[] = [];

  /** The path itself where it fits, else one by way of a descriptor of this process, until {@link close}. */
  of(path: string): string {
    if (fitsSocket(path)) return path;
    const fd = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
    this.#directories.push(fd);
    return `/proc/${process.pid}/fd/${fd}/${basename(path)}`;
  }

  close(): void {
    for (const fd of this.#directories.splice(0)) closeSync(fd);
  }
}

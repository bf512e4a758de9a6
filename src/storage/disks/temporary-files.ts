/** Short-lived files of operations, in a directory beside the disks. */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { check, InvalidArgumentError } from "../../core/index.js";
import type { FileChanges } from "./instance-disks.js";

const TEMPORARY = ".temporary";
const MAX_NAME = 300;
const checkName = check.string({
  max: MAX_NAME,
  pattern: /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/,
  expected: `1 to ${MAX_NAME} characters of [A-Za-z0-9._-], not starting with '.'`,
});

/** `temporaryPath` and `removeTemporary` of a back end. */
export class TemporaryFiles {
  readonly #directory: string;
  readonly #files: FileChanges;

  constructor(directory: string, files: FileChanges) {
    this.#directory = join(directory, TEMPORARY);
    this.#files = files;
  }

  async path(name: string): Promise<string> {
    const path = join(this.#directory, fileNameOf(checkName(name, "name")));
    await this.#files.makeDirectory(this.#directory);
    return path;
  }

  async remove(path: string): Promise<void> {
    if (dirname(path) !== this.#directory)
      throw new InvalidArgumentError({ field: "path", value: path, expected: "a path that temporaryPath gave" });
    await this.#files.remove(path);
  }
}

/** Names that are too long for a file are told apart by their hash. */
function fileNameOf(name: string): string {
  return name.length <= 128 ? name : `${name.slice(0, 63)}-${createHash("sha256").update(name).digest("hex")}`;
}

/** Files for the embedder, on a host's simulated storage. */
import { ConflictError } from "../core/index.js";
import { StorageError } from "../storage/index.js";
import type { ExportedFiles } from "../storage/index.js";
import type { FaultPoint } from "./fault-points.js";
import type { FakeProcess } from "./process.js";
import { EMPTY } from "./storage.js";
import type { FakeFile, FakeStorage } from "./storage.js";

/** Every directory that nobody has made is there already, and empty. */
export class FakeExportedFiles implements ExportedFiles {
  readonly #process: FakeProcess;
  readonly #storage: FakeStorage;

  constructor(process: FakeProcess) {
    this.#process = process;
    this.#storage = process.host.storage;
  }

  identify(path: string): Promise<string | undefined> {
    return this.#call("files.identify", path, () => this.#identityOf(path));
  }

  makeDirectory(path: string): Promise<void> {
    return this.#call("files.makeDirectory", path, () => void this.#storage.add(newFile(path, EMPTY)));
  }

  publish(from: string, to: string): Promise<void> {
    return this.#call("files.publish", to, () => {
      if (this.#storage.get(to) !== undefined)
        throw new ConflictError("a file or directory has that name already", { detail: to });
      const files = this.#storage.below(from);
      if (files.length === 0)
        throw new StorageError("giving a file its name failed", { detail: from, errno: "ENOENT" });
      for (const file of files) {
        this.#storage.remove(file.path);
        const path = to + file.path.slice(from.length);
        this.#storage.add({ ...file, path, name: path, kind: "exportedFile", owner: undefined });
      }
    });
  }

  remove(path: string, identity?: string): Promise<void> {
    return this.#call("files.remove", path, () => {
      if (identity !== undefined && this.#identityOf(path) !== identity) return;
      for (const file of this.#storage.below(path)) this.#storage.remove(file.path);
    });
  }

  readText(path: string): Promise<string | undefined> {
    return this.#call("files.readText", path, () => this.#storage.get(path)?.content[0]);
  }

  writeText(path: string, text: string): Promise<void> {
    return this.#call("files.writeText", path, () => {
      const known = this.#storage.get(path);
      if (known === undefined) this.#storage.add(newFile(path, [text]));
      else known.content = [text];
    });
  }

  list(path: string): Promise<readonly string[]> {
    return this.#call("files.list", path, () => {
      const names = this.#storage.below(path).map((file) => file.path.slice(path.length + 1).split("/")[0] ?? "");
      return [...new Set(names)].filter((name) => name !== "").sort();
    });
  }

  #identityOf(path: string): string | undefined {
    const file = this.#storage.get(path);
    return file === undefined ? undefined : String(this.#storage.identityOf(file));
  }

  #call<T>(point: FaultPoint, subject: string, body: () => T): Promise<T> {
    return this.#process.pass(point, { subject }, body);
  }
}

/** What is below a name that is not final yet is not the embedder's. */
function newFile(path: string, content: FakeFile["content"]): FakeFile {
  return {
    path,
    kind: /\.partial(?:\/|$)/.test(path) ? "temporaryFile" : "exportedFile",
    owner: undefined,
    name: path,
    format: "raw",
    virtualSizeBytes: 0,
    allocatedBytes: 0,
    content,
    backing: undefined,
    complete: true,
  };
}

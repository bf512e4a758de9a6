/** A directory that dnsmasq watches: a file a NIC, each replaced in one step. */
import { randomBytes } from "node:crypto";
import { mkdir, readFile, readdir, rename, rm, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { HostIoError, errnoName } from "../../host/index.js";

/** Many files at once, and few enough to be open at a time. */
const LANES = 16;

/** Not flushed to the disk: what a machine that has crashed is to serve, it is told anew with everything else. */
export class HostsDirectory {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  async make(): Promise<void> {
    await this.#io("making a directory", () => mkdir(this.path, { recursive: true, mode: 0o755 }));
  }

  /** Name to content; empty when there is no directory. @throws HostIoError */
  async read(): Promise<ReadonlyMap<string, string>> {
    const names = await this.#io("listing a directory", () => readdir(this.path)).catch((error: unknown) => {
      if (error instanceof HostIoError && error.errno === "ENOENT") return [];
      throw error;
    });
    const files = new Map<string, string>();
    // Those that begin with a dot are half-written; dnsmasq does not look at them either.
    await inLanes(names, async (name) => {
      if (name.startsWith(".")) await this.remove(name);
      else files.set(name, await this.#io("reading a file", () => readFile(join(this.path, name), "utf8")));
    });
    return files;
  }

  /** @throws HostIoError */
  async write(name: string, content: string): Promise<void> {
    const temporary = join(this.path, `.${name}.${randomBytes(6).toString("hex")}`);
    try {
      await this.#io("writing a file", () => writeFile(temporary, content, { mode: 0o644, flag: "wx" }));
      await this.#io("replacing a file", () => rename(temporary, join(this.path, name)));
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      throw error;
    }
  }

  async writeAll(files: ReadonlyMap<string, string>): Promise<void> {
    await inLanes([...files], ([name, content]) => this.write(name, content));
  }

  /** Success when there is none. @throws HostIoError */
  async remove(name: string): Promise<void> {
    await this.#io("removing a file", () =>
      unlink(join(this.path, name)).catch((error: unknown) => {
        if (errnoName(error) !== "ENOENT") throw error;
      }),
    );
  }

  async #io<T>(operation: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw new HostIoError({ operation, path: this.path, cause: error });
    }
  }
}

async function inLanes<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const lane = async (): Promise<void> => {
    for (let item = queue.pop(); item !== undefined; item = queue.pop()) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(LANES, items.length) }, lane));
}

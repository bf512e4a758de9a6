/** A directory for what is being made: finished things are renamed out of it, what a dead process left is swept. */
import { randomBytes } from "node:crypto";
import { readdir, readFile, readlink, rename, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { identityOf, isAlive } from "../host/index.js";
import { makeDirectory } from "./make-directory.js";
import { errnoOf } from "./storage-failure.js";

/** What a process of another boot, or of another host on shared storage, left is taken for dead after a day. */
const FOREIGN_AGE_MS = 24 * 3_600_000;

/** Boot and pid namespace, pid, start time of the process, and a random part. */
const NAME = /^([0-9a-f-]{1,64}\.\d{1,20})\.(\d{1,10})\.(\d{1,20})\.[0-9a-f]{16}$/;

export class StagingArea {
  readonly #directory: string;
  #owner: Promise<string> | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Gives `use` an empty directory of mode 0700; what is still in it afterwards is removed. */
  async use<T>(use: (path: string) => Promise<T>): Promise<T> {
    const path = await this.#newPath();
    await makeDirectory(path);
    try {
      return await use(path);
    } finally {
      await rm(path, { recursive: true, force: true });
    }
  }

  /** Takes something out of its place in one step; the result is in the staging area, or undefined when there was nothing. */
  async takeAway(path: string): Promise<string | undefined> {
    await makeDirectory(this.#directory);
    const taken = await this.#newPath();
    try {
      await rename(path, taken);
      return taken;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Removes what processes that are gone have left behind. */
  async sweep(): Promise<void> {
    for (const name of await namesIn(this.#directory)) {
      const path = join(this.#directory, name);
      if (await isAbandoned(path)) await rm(path, { recursive: true, force: true });
    }
  }

  async #newPath(): Promise<string> {
    this.#owner ??= ownName();
    return join(this.#directory, `${await this.#owner}.${randomBytes(8).toString("hex")}`);
  }
}

/** Names in a directory; none when it is not there. */
export async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  }
}

async function ownName(): Promise<string> {
  const identity = await identityOf(process.pid);
  return `${await pidSpace()}.${process.pid}.${identity?.startTime ?? 0}`;
}

async function isAbandoned(path: string): Promise<boolean> {
  const [, space, pid, startTime] = NAME.exec(basename(path)) ?? [];
  if (space === undefined) return false;
  if (space === (await pidSpace())) return !(await isAlive({ pid: Number(pid), startTime: Number(startTime) }));
  const stats = await stat(path).catch(() => undefined);
  return stats !== undefined && Date.now() - stats.mtimeMs > FOREIGN_AGE_MS;
}

/** Names the realm in which a pid means something. */
async function pidSpace(): Promise<string> {
  const bootId = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  const namespace = await readlink("/proc/self/ns/pid").catch(() => "");
  return `${bootId}.${/\d+/.exec(namespace)?.[0] ?? "0"}`;
}

/** Which files of disks can't be opened past the host's page cache, since a file system below them does not let them. */
import type { GuestDisk } from "../../../driver/index.js";
import { resolveBackingChain, supportsDirectIo } from "../../../storage/index.js";
import type { DiskSource } from "../../../storage/index.js";

/** Longest chain of backing files that is followed. */
const MAX_CHAIN = 200;

/** Whether a file can be opened with O_DIRECT. @throws any error where that can't be told */
export type DirectIoProbe = (path: string) => Promise<boolean>;

/** What has been found out about the files of guests' disks. What was not looked at counts as what can be opened. */
export class DirectIo {
  readonly #probe: DirectIoProbe;
  readonly #indirect = new Set<string>();

  constructor(probe: DirectIoProbe = supportsDirectIo) {
    this.#probe = probe;
  }

  /** Looks at the files of sources, and at what they are based on. Never rejects: a file that can't be looked at is libvirt's to refuse. */
  async learn(sources: readonly (DiskSource | undefined)[]): Promise<void> {
    for (const source of sources) {
      if (source?.type !== "file") continue;
      const { path, format } = source;
      if (await this.#opens(path, format)) this.#indirect.delete(path);
      else this.#indirect.add(path);
    }
  }

  /** Ids of those disks that have to go through the page cache. */
  indirect(disks: readonly Pick<GuestDisk, "id" | "source">[]): readonly string[] {
    return disks.flatMap(({ id, source }) => (source?.type === "file" && this.#indirect.has(source.path) ? [id] : []));
  }

  /** What a disk is based on is opened as the disk itself is. */
  async #opens(path: string, format: DiskSource["format"]): Promise<boolean> {
    try {
      for (const file of await resolveBackingChain(path, format, { roots: ["/"], maxDepth: MAX_CHAIN }))
        if (!(await this.#probe(file))) return false;
    } catch {
      return true;
    }
    return true;
  }
}

/** The states of all guests of a hypervisor, in its store, and the files beside them. */
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { StateCorruptError } from "../../../core/index.js";
import type { JsonValue, StateStore } from "../../../core/index.js";
import { HostIoError, ensureDirectory } from "../../../host/index.js";
import { parseGuestState } from "./guest-state.js";
import type { GuestState } from "./guest-state.js";

const LINKS = "c";
const PREFIX = "libvirt-guests/";

/** Absolute paths of what is kept of a guest beside its state. */
export interface GuestFiles {
  readonly directory: string;
  readonly consoleLog: string;
  /** Short links to the files of a container's disks, by the disks' ids. */
  readonly links: { readonly root: string; readonly rescue: string };
}

export interface LoadedGuests {
  readonly states: readonly GuestState[];
  /** Guests whose state can't be read; they are left as they are. */
  readonly unreadable: ReadonlyMap<string, StateCorruptError>;
}

export class GuestStore {
  readonly #state: StateStore;
  readonly #directory: string;

  constructor(state: StateStore, directory: string) {
    this.#state = state;
    this.#directory = directory;
  }

  files(uuid: string): GuestFiles {
    const directory = join(this.#directory, uuid);
    // libvirt takes no long paths for containers' files.
    const link = join(dirname(this.#directory), LINKS, uuid.replaceAll("-", "").slice(0, 16));
    return { directory, consoleLog: join(directory, "console.log"), links: { root: link, rescue: `${link}r` } };
  }

  async load(): Promise<LoadedGuests> {
    const states: GuestState[] = [];
    const unreadable = new Map<string, StateCorruptError>();
    for (const key of await this.#state.list(PREFIX)) {
      const uuid = key.slice(PREFIX.length);
      try {
        const value = await this.#state.get(key);
        if (value !== undefined) states.push(parseGuestState(value, uuid));
      } catch (error) {
        if (!(error instanceof StateCorruptError)) throw error;
        unreadable.set(uuid, error.withContext({ instance: { uuid } }));
      }
    }
    return { states, unreadable };
  }

  /** Replaces a guest's state; on failure the old one stands. */
  async save(state: GuestState): Promise<void> {
    const { uuid } = state.definition;
    await ensureDirectory(this.#directory);
    await ensureDirectory(this.files(uuid).directory);
    await this.#state.put(`${PREFIX}${uuid}`, state as unknown as JsonValue);
  }

  /** Removes everything that is kept of a guest; success when there is nothing. @throws HostIoError */
  async remove(uuid: string): Promise<void> {
    const { directory, links } = this.files(uuid);
    for (const link of Object.values(links)) await rm(link, { force: true });
    await rm(directory, { recursive: true, force: true }).catch((error: unknown) => {
      throw new HostIoError({ operation: "removing a guest's files", path: directory, cause: error });
    });
    await this.#state.delete(`${PREFIX}${uuid}`);
  }
}

/** The states of all guests of a state directory: one directory a guest, its state written in one step. */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ConflictError, StateCorruptError, asError } from "../../core/index.js";
import type { JsonValue } from "../../core/index.js";
import { HostIoError, ensureDirectory, readJsonFile, removeFile, writeFileAtomic } from "../../host/index.js";
import { DiskFullError } from "../../storage/index.js";
import { guestFiles } from "./guest-files.js";
import type { GuestFiles, StateLayout } from "./guest-files.js";
import { formatGuestState, parseGuestState } from "./guest-state.js";
import type { GuestState } from "./guest-state.js";

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const REMOVED = ".removed-";
const TEMPORARY = ".runtime.tmp";

export interface LoadedGuests {
  readonly states: readonly GuestState[];
  /** Guests whose state can't be read; they are left as they are. */
  readonly unreadable: ReadonlyMap<string, StateCorruptError>;
}

export class GuestStore {
  readonly #layout: StateLayout;

  constructor(layout: StateLayout) {
    this.#layout = layout;
  }

  files(uuid: string): GuestFiles {
    return guestFiles(this.#layout, uuid);
  }

  /** Whether a directory is one of a guest that this store has, had or may have. */
  holds(directory: string): boolean {
    return dirname(directory) === this.#layout.guests;
  }

  /** Reads all guests, and removes what a process that died has left half-made or half-removed. */
  async load(): Promise<LoadedGuests> {
    await ensureDirectory(this.#layout.guests);
    const states: GuestState[] = [];
    const unreadable = new Map<string, StateCorruptError>();
    for (const name of await readdir(this.#layout.guests)) {
      if (name.startsWith(REMOVED)) await rm(join(this.#layout.guests, name), { recursive: true, force: true });
      if (!UUID.test(name)) continue;
      const state = await this.#read(name).catch((error: unknown) => asCorrupt(error, name));
      if (state instanceof StateCorruptError) unreadable.set(name, state);
      else if (state === undefined) await this.remove(name);
      else states.push(state);
    }
    return { states, unreadable };
  }

  /**
   * Makes a guest's directory and writes its first state.
   * @throws ConflictError when there is one; DiskFullError, HostIoError: then nothing is left
   */
  async create(state: GuestState): Promise<void> {
    const { uuid } = state.definition;
    const { directory } = this.files(uuid);
    try {
      await mkdir(directory, { mode: 0o700 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST")
        throw new ConflictError(`guest ${uuid} is there already`, { instance: { uuid } });
      throw asStorageError(new HostIoError({ operation: "making a directory", path: directory, cause: error }));
    }
    try {
      await this.save(state);
    } catch (error) {
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  /** Replaces a guest's state; on failure the old one stands. @throws DiskFullError, HostIoError */
  async save(state: GuestState): Promise<void> {
    const { runtime } = this.files(state.definition.uuid);
    const text = `${JSON.stringify(formatGuestState(state), undefined, 1)}\n`;
    await writeFileAtomic(runtime, text, { temporaryName: TEMPORARY }).catch((error: unknown) => {
      throw asStorageError(error);
    });
  }

  /** Removes everything that is kept of a guest; success when there is nothing. */
  async remove(uuid: string): Promise<void> {
    const { directory } = this.files(uuid);
    const doomed = join(this.#layout.guests, `${REMOVED}${randomUUID()}`);
    try {
      await rename(directory, doomed);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      throw new HostIoError({ operation: "removing a guest's files", path: directory, cause: error });
    }
    await rm(doomed, { recursive: true, force: true });
  }

  async #read(uuid: string): Promise<GuestState | undefined> {
    const { runtime, directory } = this.files(uuid);
    if (!(await stat(directory)).isDirectory())
      throw new StateCorruptError("a guest's directory is none", { detail: directory });
    await removeFile(join(directory, TEMPORARY));
    const value = await readJsonFile(runtime);
    return value === undefined ? undefined : parseGuestState(value as JsonValue, uuid, runtime);
  }
}

function asCorrupt(error: unknown, uuid: string): StateCorruptError {
  if (error instanceof StateCorruptError) return error.withContext({ instance: { uuid } });
  return new StateCorruptError(`the state of guest ${uuid} can't be read`, {
    instance: { uuid },
    cause: asError(error),
  });
}

/** A full file system by its own name, since an embedder may go to another host for it. */
function asStorageError(error: unknown): Error {
  const { errno } = error as { readonly errno?: unknown };
  if (errno !== "ENOSPC" && errno !== "EDQUOT") return asError(error);
  return new DiskFullError("the file system of the state directory is full", { cause: error });
}

/** Secrets as files that only this process's user can read. */
import { constants } from "node:fs";
import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { Secret, check } from "../core/index.js";
import { HostIoError, ensureDirectory, errnoName, removeFile, writeFileAtomic } from "../host/index.js";
import { secretIdCheck } from "./disks/validate-disk-source.js";
import type { SecretStore } from "./secret-store.js";

export interface FileSecretStoreOptions {
  /** Absolute path of a directory for nothing else; made with mode 0700 when it is missing. */
  readonly directory: string;
}

/** What a write leaves that was cut off by the end of its process. */
const LEFTOVER = /^\.hypervise-.*\.tmp$/;
const MAX_BYTES = 65_536;

/**
 * A store that outlives the process: one file of mode 0600 for each secret, replaced in one step. What is on the disk is not encrypted: who can read the
 * directory as this user or from a backup has the secrets.
 */
export class FileSecretStore implements SecretStore {
  readonly #directory: string;
  #opened: Promise<void> | undefined;

  /** Touches nothing yet. @throws InvalidArgumentError */
  constructor(options: FileSecretStoreOptions) {
    this.#directory = check.absolutePath()(options.directory, "options.directory");
  }

  /** Durable when it resolves. @throws InvalidArgumentError for an id that is none or a value of more than 65536 bytes; HostIoError: then the old value stands */
  async put(id: string, value: Secret): Promise<void> {
    const path = this.#pathOf(id);
    const text = check.refine(check.secret(), fits, `a secret of at most ${MAX_BYTES} bytes`)(value, "value");
    await this.#open();
    await writeFileAtomic(path, text.reveal(), { mode: 0o600 });
  }

  /** @throws InvalidArgumentError, HostIoError */
  async get(id: string): Promise<Secret | undefined> {
    const path = this.#pathOf(id);
    try {
      const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
      try {
        return Secret.of(await file.readFile("utf8"));
      } finally {
        await file.close();
      }
    } catch (error) {
      if (errnoName(error) === "ENOENT") return undefined;
      throw new HostIoError({ operation: "reading a secret", path, cause: error });
    }
  }

  /** @throws InvalidArgumentError, HostIoError */
  async delete(id: string): Promise<void> {
    const path = this.#pathOf(id);
    await this.#open();
    await removeFile(path);
  }

  #pathOf(id: string): string {
    return join(this.#directory, secretIdCheck(id, "id"));
  }

  #open(): Promise<void> {
    this.#opened ??= prepare(this.#directory).catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }
}

function fits(secret: Secret): boolean {
  return Buffer.byteLength(secret.reveal()) <= MAX_BYTES;
}

/** Removes what interrupted writes have left: it may hold a secret. */
async function prepare(directory: string): Promise<void> {
  await ensureDirectory(directory);
  try {
    for (const name of await readdir(directory))
      if (LEFTOVER.test(name)) await rm(join(directory, name), { force: true });
  } catch (error) {
    throw new HostIoError({ operation: "opening the secret store", path: directory, cause: error });
  }
}

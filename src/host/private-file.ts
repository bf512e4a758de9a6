/** Bytes for another process that have no name in any file system: it opens them by a descriptor. For secrets. */
import { randomBytes } from "node:crypto";
import { closeSync, constants, fchownSync, ftruncateSync, openSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HostIoError, errnoName } from "./errors.js";

/** `__O_TMPFILE` of <fcntl.h>, which Node has no name for; with `O_DIRECTORY` it makes a file without a name. */
const TMPFILE = 0o20_000_000;
/** Kept in memory alone, where the host has it. */
const MEMORY = "/dev/shm";

export interface PrivateFileOptions {
  /** Who may open it. Default: this process's user. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
}

/** A file of mode 0600 without a name. It is gone with the last descriptor of it, whatever becomes of this process. */
export class PrivateFile {
  readonly fd: number;
  #open = true;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /** @throws HostIoError; then nothing is left */
  static create(content: string | Uint8Array, { owner }: PrivateFileOptions = {}): PrivateFile {
    const file = new PrivateFile(openNameless());
    try {
      const bytes = Buffer.from(content);
      for (let done = 0; done < bytes.length;) done += writeSync(file.fd, bytes, done);
      if (owner !== undefined) fchownSync(file.fd, owner.uid, owner.gid);
      return file;
    } catch (error) {
      file.wipe();
      throw new HostIoError({ operation: "writing a file without a name", cause: error });
    }
  }

  /** Where other processes of this process's user find it, until it is wiped. */
  get path(): string {
    return `/proc/${process.pid}/fd/${this.fd}`;
  }

  /** Takes the content away, from those who have it open too, and closes it. Repeatable. */
  wipe(): void {
    if (!this.#open) return;
    this.#open = false;
    try {
      ftruncateSync(this.fd, 0);
    } finally {
      closeSync(this.fd);
    }
  }
}

function openNameless(): number {
  for (const directory of [MEMORY, tmpdir()]) {
    try {
      return openSync(directory, TMPFILE | constants.O_DIRECTORY | constants.O_RDWR, 0o600);
    } catch (error) {
      if (!UNSUPPORTED.has(errnoName(error) ?? "")) throw failed(error, directory);
    }
  }
  return openAndUnlink(join(tmpdir(), `.hypervise-${randomBytes(16).toString("hex")}`));
}

/** The directory is missing or not to be written to, or its file system has no files without names. */
const UNSUPPORTED = new Set(["ENOENT", "ENOTDIR", "EACCES", "EROFS", "EISDIR", "EOPNOTSUPP", "EINVAL", "ENOSPC"]);

function openAndUnlink(path: string): number {
  try {
    const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants;
    const fd = openSync(path, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR, 0o600);
    unlinkSync(path);
    return fd;
  } catch (error) {
    throw failed(error, path);
  }
}

function failed(error: unknown, path: string): HostIoError {
  return new HostIoError({ operation: "making a file without a name", path, cause: error });
}

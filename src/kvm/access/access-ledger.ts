/** Which files were given to the user that QEMU runs as, by whom they are needed, and how they were before. Kept durably, so that whoever comes next can take them back. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { chmod, open, realpath, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { InvalidArgumentError, KeyedLock, check } from "../../core/index.js";
import type { Check, JsonValue, StateStore } from "../../core/index.js";
import { HostIoError, errnoName } from "../../host/index.js";
import type { Credentials } from "./credentials.js";
import { sameOwnership, withAccess } from "./file-rights.js";
import type { AccessMode, FileOwnership } from "./file-rights.js";

interface AccessEntry {
  /** Without symbolic links. */
  readonly path: string;
  /** The file itself: another one of the same name is never touched. */
  readonly device: string;
  readonly inode: string;
  readonly original: FileOwnership;
  /** Who needs it, and how. */
  readonly holders: Readonly<Record<string, AccessMode>>;
}

const MAX_ID = 4_294_967_294;
const ownershipCheck: Check<FileOwnership> = check.object({
  uid: check.integer({ min: 0, max: MAX_ID }),
  gid: check.integer({ min: 0, max: MAX_ID }),
  mode: check.integer({ min: 0, max: 0o7777 }),
});
const entryCheck: Check<AccessEntry> = check.object({
  path: check.absolutePath(),
  device: check.string({ max: 32 }),
  inode: check.string({ max: 32 }),
  original: ownershipCheck,
  holders: check.record(check.string({ max: 1024 }), check.oneOf(["read", "write"])),
});

/** A holder is a guest's uuid, a colon, and what the guest needs the file for. */
export function holderOf(uuid: string, purpose: string): string {
  return `${uuid}:${purpose}`;
}

/** The uuid of the guest that holds. */
export function guestOf(holder: string): string {
  return holder.slice(0, holder.indexOf(":"));
}

export class AccessLedger {
  /** Absent: QEMU runs as the driver's own user, and nothing is given. */
  readonly user: Credentials | undefined;
  readonly #root: string;
  readonly #store: StateStore;
  readonly #entries = new Map<string, AccessEntry>();
  readonly #locks = new KeyedLock();

  /** @param root the state directory: its directories are made ones that the user may go through */
  constructor(store: StateStore, root: string, user: Credentials | undefined) {
    this.#store = store;
    this.#root = root;
    this.user = user;
  }

  /** Reads what earlier processes have given away. @throws StateCorruptError, HostIoError */
  async load(): Promise<void> {
    for (const key of await this.#store.list("")) {
      const value = await this.#store.get(key);
      if (value !== undefined) this.#entries.set(key, entryCheck(value, `access.${key}`));
    }
  }

  /**
   * Lets the user read, or read and write, a regular file or block device. A file that the user can use already stays as it is, and so does one that several
   * names lead to and that was to be written. Repeatable.
   * @throws InvalidArgumentError for what is no such file; HostIoError. Then nothing has changed.
   */
  async grant(holder: string, path: string, mode: AccessMode): Promise<void> {
    const { user } = this;
    if (user === undefined) return;
    const real = await realpath(path).catch((error: unknown) => {
      throw new HostIoError({ operation: "giving QEMU access to a file", path, cause: error });
    });
    await openDirectories(this.#root, dirname(real));
    const key = keyOf(real);
    await this.#locks.run(key, () => withFile(real, (file) => this.#grant(key, real, file, holder, mode, user)));
  }

  /** Takes back what the holder was given of a path; success when that is nothing. @throws HostIoError */
  async revoke(holder: string, path: string): Promise<void> {
    const real = await realpath(path).catch(() => path);
    await this.#drop(keyOf(real), (candidate) => candidate === holder);
  }

  /** Takes back all that these holders were given; each file is tried. @throws HostIoError of the first that failed */
  async revokeAll(isHolder: (holder: string) => boolean): Promise<void> {
    const failures: unknown[] = [];
    for (const [key, { holders }] of [...this.#entries]) {
      if (Object.keys(holders).length > 0 && !Object.keys(holders).some(isHolder)) continue;
      await this.#drop(key, isHolder).catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
  }

  async #grant(
    key: string,
    path: string,
    file: FileHandle,
    holder: string,
    mode: AccessMode,
    user: Credentials,
  ): Promise<void> {
    const now = await inspect(file, path);
    const known = this.#entries.get(key);
    const entry =
      known !== undefined && isSame(known, now)
        ? known
        : { path, ...now.identity, original: now.ownership, holders: {} };
    const wanted = withAccess(now.ownership, user, mode);
    if (entry !== known && sameOwnership(wanted, now.ownership)) return;
    if (mode === "write" && now.links > 1 && !sameOwnership(wanted, now.ownership)) {
      throw new InvalidArgumentError({ field: "path", value: path, expected: "a file that only one name leads to" });
    }
    const held = entry.holders[holder];
    await this.#put(key, { ...entry, holders: { ...entry.holders, [holder]: held === "write" ? held : mode } });
    await apply(file, path, now.ownership, wanted);
  }

  async #drop(key: string, isHolder: (holder: string) => boolean): Promise<void> {
    await this.#locks.run(key, async () => {
      const entry = this.#entries.get(key);
      if (entry === undefined) return;
      const holders = Object.fromEntries(Object.entries(entry.holders).filter(([holder]) => !isHolder(holder)));
      // Before the file: a holder that is gone does not come back.
      if (Object.keys(holders).length !== Object.keys(entry.holders).length)
        await this.#put(key, { ...entry, holders });
      if (Object.keys(holders).length > 0) return;
      await restore(entry);
      await this.#store.delete(key);
      this.#entries.delete(key);
    });
  }

  async #put(key: string, entry: AccessEntry): Promise<void> {
    await this.#store.put(key, entry as unknown as JsonValue);
    this.#entries.set(key, entry);
  }
}

/** Lets everybody go through a directory below the root, and through those between; what lies elsewhere is the host's affair. */
export async function openDirectories(root: string, directory: string): Promise<void> {
  const real = await realpath(root);
  const below = relative(real, directory);
  if (below.startsWith("..")) return;
  let path = real;
  for (const name of ["", ...below.split("/")]) {
    path = join(path, name);
    try {
      const { mode } = await stat(path);
      if ((mode & SEARCH) === 0) await chmod(path, (mode & 0o7777) | SEARCH);
    } catch (error) {
      throw new HostIoError({ operation: "opening a directory to QEMU", path, cause: error });
    }
  }
}

const SEARCH = 0o001;

interface Inspected {
  readonly identity: { readonly device: string; readonly inode: string };
  readonly ownership: FileOwnership;
  readonly links: number;
}

async function inspect(file: FileHandle, path: string): Promise<Inspected> {
  const stats = await file.stat({ bigint: true });
  if (!stats.isFile() && !stats.isBlockDevice())
    throw new InvalidArgumentError({ field: "path", value: path, expected: "a regular file or a block device" });
  return {
    identity: { device: String(stats.dev), inode: String(stats.ino) },
    ownership: { uid: Number(stats.uid), gid: Number(stats.gid), mode: Number(stats.mode & 0o7777n) },
    links: stats.isFile() ? Number(stats.nlink) : 1,
  };
}

function isSame({ device, inode }: AccessEntry, { identity }: Inspected): boolean {
  return device === identity.device && inode === identity.inode;
}

/** The file as it was; one that is gone, or another of its name, is left alone. */
async function restore(entry: AccessEntry): Promise<void> {
  try {
    await withFile(entry.path, async (file) => {
      const now = await inspect(file, entry.path);
      if (isSame(entry, now)) await apply(file, entry.path, now.ownership, entry.original);
    });
  } catch (error) {
    if (error instanceof InvalidArgumentError) return;
    if (error instanceof HostIoError && (error.errno === "ENOENT" || error.errno === "ELOOP")) return;
    throw error;
  }
}

async function apply(file: FileHandle, path: string, now: FileOwnership, wanted: FileOwnership): Promise<void> {
  try {
    if (now.uid !== wanted.uid || now.gid !== wanted.gid) await file.chown(wanted.uid, wanted.gid);
    // After the owner: changing that may clear bits.
    if (now.mode !== wanted.mode) await file.chmod(wanted.mode);
  } catch (error) {
    throw new HostIoError({ operation: "changing who may use a file", path, cause: error });
  }
}

/** Nothing is followed any more: what has become a link since is refused. */
async function withFile<T>(path: string, work: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: unknown) => {
      throw new HostIoError({
        operation: "opening a file to give it to QEMU",
        path,
        cause: error,
        errno: errnoName(error),
      });
    },
  );
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

function keyOf(path: string): string {
  return createHash("sha256").update(path).digest("hex").slice(0, 32);
}

/** A lock between processes on a directory: one living holder, and none when the holder has died. */
import { randomInt } from "node:crypto";
import { open, readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../core/index.js";
import type { Clock } from "../core/index.js";
import { ensureDirectory } from "./atomic-file.js";
import { HostIoError, LockedError, errnoName } from "./errors.js";
import { formatMark, isMarkAlive, newMark, parseMark } from "./process-mark.js";
import type { ProcessMark } from "./process-mark.js";

/** How a lock is taken. */
export interface FileLockOptions {
  /** Several locks may be on one directory; letters, digits and hyphens. Default: `lock`. */
  readonly name?: string | undefined;
  readonly clock?: Clock | undefined;
}

/** A lock that is held. A process that ends without releasing it does not hold it any more. */
export interface FileLock extends AsyncDisposable {
  /** Frees the lock; a second call does nothing. */
  release(): Promise<void>;
}

const ATTEMPTS = 8;

/**
 * Takes the lock of a directory, which is made when it is missing.
 *
 * Each claimant first puts down a file that bears its identity (boot, pid, start time), then looks for those of others: of two
 * that come together at least one sees the other and steps back, and the file of a dead process counts for nothing. So there
 * is no moment at which a stale lock is taken over by two. All users must see the same process numbers (one pid namespace).
 * @throws LockedError when a living process holds it, also this one; HostIoError.
 */
export async function acquireFileLock(directory: string, options: FileLockOptions = {}): Promise<FileLock> {
  const { name = "lock", clock = systemClock } = options;
  await ensureDirectory(directory);
  for (let attempt = 1; ; attempt++) {
    const mark = await newMark();
    const path = join(directory, `${name}.${formatMark(mark)}`);
    await announce(path);
    const rival = await findRival(directory, name, mark).catch(async (error: unknown) => {
      await unlink(path).catch(() => undefined);
      throw error;
    });
    if (rival === undefined) return held(path);
    await unlink(path).catch(() => undefined);
    if (attempt === ATTEMPTS)
      throw new LockedError(rival.pid, { detail: `${directory} is locked by process ${rival.pid}` });
    // The rival may be a claimant that steps back as we do; the next attempts come at different moments.
    await clock.sleep(randomInt(1, 5 * attempt));
  }
}

function held(path: string): FileLock {
  let released: Promise<void> | undefined;
  const release = (): Promise<void> => (released ??= unlink(path).catch(ignoreAbsent(path)));
  return { release, [Symbol.asyncDispose]: release };
}

async function announce(path: string): Promise<void> {
  try {
    await (await open(path, "wx", 0o600)).close();
  } catch (error) {
    throw new HostIoError({ operation: "making a lock file", path, cause: error });
  }
}

async function findRival(directory: string, name: string, own: ProcessMark): Promise<ProcessMark | undefined> {
  let rival: ProcessMark | undefined;
  for (const entry of await list(directory)) {
    const mark = entry.startsWith(`${name}.`) ? parseMark(entry.slice(name.length + 1)) : undefined;
    if (mark === undefined || mark.nonce === own.nonce) continue;
    if (await isMarkAlive(mark)) rival = mark;
    else await unlink(join(directory, entry)).catch(() => undefined);
  }
  return rival;
}

async function list(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    throw new HostIoError({ operation: "looking for lock files", path: directory, cause: error });
  }
}

function ignoreAbsent(path: string): (error: unknown) => void {
  return (error) => {
    if (errnoName(error) !== "ENOENT") throw new HostIoError({ operation: "removing a lock file", path, cause: error });
  };
}

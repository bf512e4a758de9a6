/** A guest's memory and the state of its devices, written to a file by a QEMU that stands still, and what becomes of that QEMU. */
import { open, rename, statfs, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import type { CommonOptions } from "../../core/index.js";
import { MigrationError } from "../../driver/index.js";
import type { CopyProgress } from "../../driver/index.js";
import { HostIoError, errnoName } from "../../host/index.js";
import { toNumber } from "../../qmp/index.js";
import { DiskFullError } from "../../storage/index.js";
import type { GuestCore } from "../guest-core.js";
import { UNLIMITED_BYTES_PER_SECOND, setCapabilities } from "../migration/settings.js";
import { cancelMigration, finalStatus, followMigration } from "../migration/watch.js";
import type { GuestSession } from "../session.js";
import type { SavedMemory } from "../state/saved-memory.js";
import { withSavedMemory } from "../state/state-changes.js";

/** Name under which QEMU is given the file. */
const DESCRIPTOR = "memory";

export interface SaveMemoryOptions extends CommonOptions {
  readonly onCopyProgress?: (progress: CopyProgress) => void;
}

/**
 * Writes memory and devices of a guest whose vCPUs are stopped to a new file, which is whole on the disk when this resolves. QEMU then stands in the run state `postmigrate` with its disks
 * let go of: end it, or call {@link afterSaving}. When this rejects the file is removed, and the guest is to be brought back by {@link afterSaving}.
 * @throws DiskFullError, HostIoError, MigrationError, GuestCrashedError, AbortedError, DeadlineExceededError, NativeModuleMissingError without `koffi`
 */
export async function saveMemory(
  core: GuestCore,
  session: GuestSession,
  path: string,
  options: SaveMemoryOptions = {},
): Promise<void> {
  const file = await create(path);
  try {
    await write(core, session, file, options);
    await file.sync();
    await file.close();
  } catch (error) {
    const full = await isFull(path);
    await file.close().catch(() => undefined);
    await unlink(path).catch(() => undefined);
    if (!full) throw error;
    throw new DiskFullError("the file system that the guest's memory is written to is full", {
      instance: core.instance,
      cause: error,
    });
  }
}

async function write(
  core: GuestCore,
  session: GuestSession,
  file: FileHandle,
  { signal, deadline, onCopyProgress }: SaveMemoryOptions,
): Promise<void> {
  await setCapabilities(session, new Set(["events"]), signal);
  await session.execute("migrate-set-parameters", { "max-bandwidth": UNLIMITED_BYTES_PER_SECOND }, { signal });
  await session.execute("getfd", { fdname: DESCRIPTOR }, { fds: [file.fd], signal });
  try {
    await session.execute("migrate", { uri: `fd:${DESCRIPTOR}` }, { signal });
  } catch (error) {
    await session.execute("closefd", { fdname: DESCRIPTOR }).catch(() => undefined);
    throw error;
  }
  const { memoryMs } = core.host.timeouts;
  try {
    const { status, "error-desc": words } = await followMigration(
      core,
      session,
      (info) => {
        const { ram } = info;
        if (ram !== undefined)
          onCopyProgress?.({
            doneBytes: toNumber(ram.total) - toNumber(ram.remaining),
            totalBytes: toNumber(ram.total),
          });
        return finalStatus(info) === undefined ? undefined : info;
      },
      { what: "writing the guest's memory", limitMs: Math.min(deadline ?? memoryMs, memoryMs), signal },
    );
    if (status !== "completed")
      throw new MigrationError("the guest's memory could not be written", {
        instance: core.instance,
        detail: words ?? `QEMU says: ${status ?? "none"}`,
      });
  } catch (error) {
    if (!session.process.over) await cancelMigration(core, session);
    throw error;
  }
}

/** Puts a file that is whole in its place, durably. @throws HostIoError */
export async function putInPlace(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
    const directory = await open(dirname(to), "r");
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch (error) {
    throw new HostIoError({ operation: "renaming a guest's memory", path: to, cause: error });
  }
}

/** Brings a guest whose memory was, or was to be, written to a file back to where it was. @throws GuestCrashedError, QmpCommandError */
export async function afterSaving(
  session: GuestSession,
  { wasRunning }: Pick<SavedMemory, "wasRunning">,
): Promise<void> {
  if (wasRunning && (await session.stateAfterMigration()) !== "running") {
    await session.requesting("cont", () => session.execute("cont"));
  }
  session.setMoving(false);
  session.observe((await session.execute("query-status")).status, true);
}

/** Takes back a saving that an earlier process, or this one, did not come to an end with. */
export async function abandonSaving(core: GuestCore, session: GuestSession, saved: SavedMemory): Promise<void> {
  if (saved.phase === "copied") return;
  session.setMoving(true);
  await cancelMigration(core, session);
  await afterSaving(session, saved);
  await core.update((state) => withSavedMemory(state, saved.wasRunning ? undefined : { ...saved, phase: "copied" }));
  await removeMemoryFiles([core.files.memoryPart, core.files.memory]);
}

/** Success when they are not there. @throws HostIoError */
export async function removeMemoryFiles(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await unlink(path).catch((error: unknown) => {
      if (errnoName(error) !== "ENOENT")
        throw new HostIoError({ operation: "removing a guest's memory", path, cause: error });
    });
  }
}

async function create(path: string): Promise<FileHandle> {
  try {
    return await open(path, "wx", 0o600);
  } catch (error) {
    throw new HostIoError({ operation: "making a file for a guest's memory", path, cause: error });
  }
}

/** QEMU, which writes the file, says only that it failed. */
async function isFull(path: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(dirname(path));
  return bavail * bsize < 65_536;
}

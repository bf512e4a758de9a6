/** What is below a running guest's disk, taken into the disk's own file. */
import { isAbsolute } from "node:path";
import { ConflictError, NotSupportedError } from "../../../core/index.js";
import type { CommonOptions, Deadline } from "../../../core/index.js";
import { DiskFullError, StorageError, diskSourceCheck, isLocalSource } from "../../../storage/index.js";
import type { DiskSource } from "../../../storage/index.js";
import type { GuestCore, GuestListener } from "../guest-core.js";
import { hasJob } from "./block-job.js";
import { nameBelow } from "./commit.js";
import { requireStillThere } from "./guest-gone.js";
import { isSameFile } from "./is-same-file.js";
import { refuseUnfit, requireLive, requireLoaded } from "./live-disk.js";
import { unlessAway } from "./reach-daemon.js";
import { observe } from "../lifecycle/reconcile.js";
import { readOverlay } from "./read-overlay.js";
import { refuseEncrypted } from "./snapshot.js";
import { isFullBelow } from "./target-file.js";
import { withWork } from "./work.js";

/**
 * Copies what is between `base` and the disk's present file into that file, which is based on `base` then; without `base` it needs no other file any more. Where the files name each
 * other by relative paths, they go on doing so. The files in between are not needed any more, and not removed. `virDomainBlockRebase`.
 * @throws DiskNotFoundError; ConflictError when `base` is not below; NotSupportedError, DeviceAttachError, DiskFullError, StorageError, InvalidStateError, BusyError, AbortedError.
 * Then the file is based on what it was based on; what it holds of that is harmless.
 */
export async function pullDisk(
  core: GuestCore,
  diskId: string,
  given: DiskSource | undefined,
  options: CommonOptions,
): Promise<void> {
  const base = given === undefined ? undefined : diskSourceCheck(given, "base");
  const disk = requireLoaded(core, diskId);
  if (base !== undefined) {
    refuseUnfit(core, disk, base);
    if (!isLocalSource(base)) throw new NotSupportedError({ capability: "a disk based on network storage" });
  }
  refuseEncrypted(core, disk, base ?? disk.source);
  let name: string | undefined;
  await withWork(
    core,
    "pullDisk",
    options,
    async () => {
      const found = await requireLive(core, diskId);
      if (base !== undefined && isLocalSource(base)) name = await nameBelow(core, found, base, diskId);
      return { kind: "blockJob", targets: [found.target], files: [] };
    },
    async ({ deadline, listener }, { targets: [target = ""] }) => {
      const { domain, host } = core;
      const relative = base !== undefined && (await isRelative(disk.source, base));
      deadline.throwIfExpired();
      await domain.blockRebase(target, 0, {
        ...(name === undefined ? {} : { base: name }),
        flags: relative ? ["relative"] : [],
        deadlineMs: host.timeouts.callMs,
      });
      await waitUntilOver(core, listener, target, deadline);
      await requireBasedOn(disk.source, base);
      await writeDown(core);
      return (state) => state;
    },
  );
}

/**
 * At the end of its job QEMU has not written down where in the file it has copied to; it does when the guest is stopped, for a moment. libvirt does not ask
 * QEMU to stop one that stands already.
 */
async function writeDown(core: GuestCore): Promise<void> {
  const { domain, host } = core;
  const limits = { deadlineMs: host.timeouts.callMs };
  if (core.powerState !== "running") {
    await domain.qemuMonitorCommand('{"execute":"stop"}', limits);
    return;
  }
  core.see({ moving: true });
  try {
    // Whoever finds the guest standing still must know that it did not before.
    await core.update((state) =>
      state.work === undefined ? state : { ...state, work: { ...state.work, resume: true } },
    );
    await domain.suspend(limits);
    await domain.resume(limits);
    await observe(core);
  } finally {
    core.see({ moving: false });
  }
}

/** libvirt does not leave a job that has ended, however it did. */
async function waitUntilOver(
  core: GuestCore,
  listener: GuestListener,
  target: string,
  deadline: Deadline,
): Promise<void> {
  await listener.until<true>(
    async (signal) => {
      requireStillThere(core, deadline.operation);
      // What an event says may still be about a job before this one.
      const telling = signal === undefined || signal.type === "gap" || signal.type === "blockJob";
      if (!telling || (signal?.type === "blockJob" && signal.target !== target)) return undefined;
      return unlessAway(async () => ((await hasJob(core, target)) ? undefined : true));
    },
    { operation: deadline.operation, deadlineMs: deadline.remainingMs + 1, signal: deadline.signal },
  );
}

/** The disk's own file tells how it has ended. */
async function requireBasedOn(present: DiskSource, base: DiskSource | undefined): Promise<void> {
  if (!isLocalSource(present)) return;
  const { backing } = await readOverlay(present.path);
  const expected = base !== undefined && isLocalSource(base) ? base.path : undefined;
  if (backing === undefined && expected === undefined) return;
  if (backing !== undefined && expected !== undefined && (await isSameFile(backing, expected))) return;
  if (await isFullBelow(present)) throw new DiskFullError("the storage that is copied to is full");
  throw new StorageError("libvirt could not copy the disk");
}

/** Whether each file from the present one down to the base names the next by a relative path. */
async function isRelative(present: DiskSource, base: DiskSource): Promise<boolean> {
  if (!isLocalSource(present) || !isLocalSource(base)) return false;
  for (let path = present.path; !(await isSameFile(path, base.path));) {
    const { backing, backingName = "/" } = await readOverlay(path);
    if (backing === undefined) throw new ConflictError("the file is not below the disk's present one");
    if (isAbsolute(backingName)) return false;
    path = backing;
  }
  return true;
}

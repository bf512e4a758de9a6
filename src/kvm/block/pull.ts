/** What is below a running guest's disk, taken into the disk's own file. */
import { dirname, isAbsolute, relative } from "node:path";
import { NotSupportedError } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { diskSourceCheck, isLocalSource } from "../../storage/index.js";
import type { DiskSource, LocalDiskSource } from "../../storage/index.js";
import type { Qapi } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import { reach, startJob } from "./job.js";
import type { GuestSession } from "../session.js";
import { moveable, refuseUnfit } from "./mirror.js";
import { diskHandle, requireDrive } from "./nodes.js";
import { imageBelow, refuseEncrypted } from "./snapshot.js";
import { withWork } from "./work.js";

/**
 * Copies what is between `base` and the disk's present file into that file, which is based on `base` then; without `base` it needs no other file any more. Where the files name each
 * other by relative paths, they go on doing so. The files in between are not needed any more, and not removed. `block-stream`.
 * @throws DiskNotFoundError; ConflictError when `base` is not below; NotSupportedError, DiskFullError, StorageError, InvalidStateError, BusyError, AbortedError. Then the file is based
 * on what it was based on; what it holds of that is harmless.
 */
export async function pullDisk(
  core: GuestCore,
  diskId: string,
  given: DiskSource | undefined,
  options: CommonOptions,
): Promise<void> {
  const base = given === undefined ? undefined : diskSourceCheck(given, "base");
  const disk = moveable(core, diskId);
  if (base !== undefined) refuseUnfit(core, disk, base);
  const local = base !== undefined && isLocalSource(base) ? base : undefined;
  if (base !== undefined && local === undefined)
    throw new NotSupportedError({ capability: "a disk based on network storage" });
  refuseEncrypted(core, disk, base ?? disk.source);
  const job = `stream-${diskHandle(core, diskId)}`;
  await withWork(
    core,
    "pullDisk",
    options,
    async ({ session }) => {
      const { inserted } = await requireDrive(core, session, diskId);
      if (local !== undefined) await imageBelow(core, diskId, inserted.image, local.path, local.format);
      return { diskIds: [diskId], jobs: [job], files: [], bitmaps: [] };
    },
    async ({ session, deadline }) => {
      const { inserted } = await requireDrive(core, session, diskId);
      const { node, image } = inserted;
      const below = local === undefined ? undefined : await imageBelow(core, diskId, image, local.path, local.format);
      deadline.throwIfExpired();
      await startJob(session, "block-stream", {
        "auto-dismiss": false,
        "on-error": "enospc",
        "job-id": job,
        device: node,
        ...(below === undefined || local === undefined
          ? {}
          : { base: below.filename, ...nameOf(disk.source, local, image, below) }),
      });
      await reach(session, job, "concluded", deadline);
      await writeDown(session);
      return (state) => state;
    },
  );
}

/** At the end of its job QEMU has not written down where in the file it has copied to; it does when the guest is stopped, for a moment. */
async function writeDown(session: GuestSession): Promise<void> {
  const { running } = await session.execute("query-status");
  session.note("stop", true);
  session.note("cont", true);
  try {
    // Both are on their way at once, so that nobody's end leaves the guest standing.
    const steps = [session.execute("stop"), ...(running ? [session.execute("cont")] : [])];
    await Promise.all(steps);
  } finally {
    session.note("stop", false);
    session.note("cont", false);
  }
}

/** What the file calls its base from now on, where all names down to there are relative. */
function nameOf(
  present: DiskSource,
  base: LocalDiskSource,
  image: Qapi.ImageInfo,
  below: Qapi.ImageInfo,
): { readonly "backing-file"?: string } {
  if (!isLocalSource(present)) return {};
  for (let each: Qapi.ImageInfo | undefined = image; each?.filename !== below.filename; each = each["backing-image"]) {
    const name = each?.["backing-filename"];
    if (each === undefined || name === undefined || isAbsolute(name)) return {};
  }
  return { "backing-file": relative(dirname(present.path), base.path) };
}

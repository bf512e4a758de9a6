/** Overlays on a running guest's disks: put on, and merged back. */
import { realpath } from "node:fs/promises";
import { ConflictError, InvalidArgumentError, NotSupportedError } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { DeviceAttachError } from "../../driver/index.js";
import { diskSourceCheck, isLocalSource } from "../../storage/index.js";
import type { DiskSource } from "../../storage/index.js";
import type { Qapi } from "../../qmp/index.js";
import { diskPurpose, grantAccess } from "../access/grant-access.js";
import type { GuestCore } from "../guest-core.js";
import { diskNode } from "../plan/block-nodes.js";
import type { LoadedDisk } from "../plan/block-nodes.js";
import type { GuestSession } from "../session.js";
import { addBitmap, bitmapsOf, transact } from "./checkpoint-bitmaps.js";
import { startJob } from "./job.js";
import { moveable, pivot, refuseUnfit } from "./mirror.js";
import { diskHandle, freshName, layersOf, letGo, namedNodes, openNext, requireDrive } from "./nodes.js";
import { withSource, withWork } from "./work.js";

/**
 * Puts an overlay on a disk: an existing, empty qcow2 file whose backing file is the disk's present source. The guest writes to it from then on.
 * @throws DiskNotFoundError, InvalidArgumentError, ConflictError, InvalidStateError, BusyError; DeviceAttachError when the overlay can't be opened
 * or is none of this disk. Then the guest has what it had.
 */
export async function snapshotDisk(
  core: GuestCore,
  diskId: string,
  given: DiskSource,
  options: CommonOptions,
): Promise<void> {
  const overlay = diskSourceCheck(given, "overlay");
  const disk = moveable(core, diskId);
  refuseUnfit(core, disk, overlay);
  refuseEncrypted(core, disk, overlay);
  if (overlay.format !== "qcow2")
    throw new InvalidArgumentError({ field: "overlay.format", value: overlay.format, expected: "qcow2" });
  await withWork(
    core,
    "snapshotDisk",
    options,
    async ({ session }) => {
      const { inserted } = await requireDrive(core, session, diskId);
      const move = { diskId, node: inserted.node, from: disk.source, to: overlay };
      return { diskIds: [diskId], jobs: [], files: [], bitmaps: [], move };
    },
    async ({ session, deadline }) => {
      const { handle, inserted } = await requireDrive(core, session, diskId);
      const name = await freshName(session, handle);
      const node = diskNode(name);
      await openNext(core, session, name, { ...disk, source: overlay }, { backing: null });
      await requireOverlay(core, session, node, disk.source, inserted.sizeBytes);
      deadline.throwIfExpired();
      // The empty overlay says the same as what it is on, so that the definition may name it already.
      await core.update((state) => withSource(state, diskId, overlay));
      await transact(session, [
        { type: "blockdev-snapshot", data: { node: inserted.node, overlay: node } },
        ...bitmapsOf(core, diskId).map((bitmap) => addBitmap(node, bitmap)),
      ]);
      return (state) => state;
    },
  );
}

/**
 * Merges everything above `base`, which is below the disk's present source, into it, and has the guest go over to it. The overlays are not needed
 * any more then, and not removed.
 * @throws DiskNotFoundError; ConflictError when `base` is not below; DiskFullError, StorageError, InvalidStateError, BusyError, AbortedError. Then the guest keeps
 * its overlay; what has come into `base` by then is hidden by it.
 */
export async function commitDisk(
  core: GuestCore,
  diskId: string,
  given: DiskSource,
  options: CommonOptions,
): Promise<void> {
  const base = diskSourceCheck(given, "base");
  const disk = moveable(core, diskId);
  refuseUnfit(core, disk, base);
  refuseEncrypted(core, disk, base);
  if (!isLocalSource(base)) throw new NotSupportedError({ capability: "merging an overlay into network storage" });
  const { path, format } = base;
  const job = `commit-${diskHandle(core, diskId)}`;
  await withWork(
    core,
    "commitDisk",
    options,
    async ({ session }) => {
      const { inserted } = await requireDrive(core, session, diskId);
      await imageBelow(core, diskId, inserted.image, path, format);
      const move = { diskId, node: inserted.node, from: disk.source, to: base };
      return { diskIds: [diskId], jobs: [job], files: [], bitmaps: [], move };
    },
    async (context) => {
      const { session } = context;
      const drive = await requireDrive(core, session, diskId);
      const { node, image } = drive.inserted;
      const below = await imageBelow(core, diskId, image, path, format);
      const chain = await layersOf(session, drive);
      const index = chain.findIndex((layer) => layer.file === below.filename);
      await grantAccess(core, path, "write", diskPurpose(diskId));
      await startJob(session, "block-commit", {
        "auto-dismiss": false,
        "on-error": "enospc",
        "job-id": job,
        device: node,
        base: below.filename,
        "filter-node-name": `${drive.handle}-commit`,
        "auto-finalize": false,
      });
      const bottom = chain[index];
      const layers = chain.slice(0, index);
      await pivot(core, context, job, { diskId, to: base, layers, node: bottom?.node ?? "" });
      await letGo(core, diskId, disk.source);
      return (state) => state;
    },
  );
}

/** What is below an overlay QEMU opens by itself, without a key. @throws NotSupportedError */
export function refuseEncrypted(core: GuestCore, disk: LoadedDisk, other: DiskSource): void {
  if (disk.source.encryption === undefined && other.encryption === undefined) return;
  throw new NotSupportedError({
    capability: "overlays of encrypted disks",
    instance: core.instance,
    device: disk.id,
  });
}

/** QEMU takes any file for an overlay; one that names another file as what it is based on would make another disk of it at the next start. */
async function requireOverlay(
  core: GuestCore,
  session: GuestSession,
  node: string,
  present: DiskSource,
  sizeBytes: number,
): Promise<void> {
  const info = (await namedNodes(session)).find((candidate) => candidate["node-name"] === node);
  const refuse = (detail: string): never => {
    throw new DeviceAttachError("the overlay can't be put on the disk", { instance: core.instance, detail });
  };
  const backing = info?.image["full-backing-filename"];
  const backingFormat = info?.image["backing-filename-format"];
  if (info === undefined || backing === undefined) return refuse("the file is not based on another");
  if (backingFormat !== present.format)
    return refuse("it does not say of which format the file is that it is based on");
  if (Number(info.image["virtual-size"]) < sizeBytes) return refuse("it is smaller than the disk");
  if (isLocalSource(present) && !(await isSameFile(backing, present.path)))
    return refuse("it is not based on the disk's present file");
}

/** The image of a chain that a path names. */
export async function imageBelow(
  core: GuestCore,
  diskId: string,
  image: Qapi.ImageInfo,
  path: string,
  format: string,
): Promise<Qapi.ImageInfo> {
  for (let below = image["backing-image"]; below !== undefined; below = below["backing-image"]) {
    if (below.format === format && (await isSameFile(below.filename, path))) return below;
  }
  throw new ConflictError("the file is not below the disk's present one", { instance: core.instance, device: diskId });
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  const real = (path: string): Promise<string> => realpath(path).catch(() => path);
  return (await real(one)) === (await real(other));
}

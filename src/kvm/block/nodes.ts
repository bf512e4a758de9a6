/**
 * The block nodes under a guest's disks. Those of a disk are named after its handle, so that they are found again; which of them the guest
 * reads and writes changes with every mirror, snapshot and commit, and QEMU is asked for it.
 */
import { BusyError } from "../../core/index.js";
import type { JsonObject } from "../../core/index.js";
import { DiskNotFoundError, InvalidStateError } from "../../driver/index.js";
import { DiskKeyError, isLocalSource } from "../../storage/index.js";
import type { DiskSource } from "../../storage/index.js";
import { isQmpCommandError } from "../../qmp/index.js";
import type { Qapi, QmpArguments } from "../../qmp/index.js";
import { diskPurpose, grantDisk, revokeAccess } from "../access/grant-access.js";
import type { GuestCore } from "../guest-core.js";
import { blockNodes, diskNode, storageNode } from "../plan/block-nodes.js";
import type { LoadedDisk } from "../plan/block-nodes.js";
import { bindingOf } from "../plan/hardware.js";
import type { GuestSession } from "../session.js";
import { openable } from "./direct-io.js";
import { addDiskObjects, removeDiskObjects } from "./disk-objects.js";

/** A drive as the guest has it. */
export interface Drive {
  /** What commands on the drive itself, rather than on what is in it, call it. */
  readonly qdev: string;
  /** Absent: no medium. */
  readonly inserted?: { readonly node: string; readonly sizeBytes: number; readonly image: Qapi.ImageInfo };
  readonly trayOpen: boolean;
}

/** One file of a disk's chain, as QEMU has it open. */
export interface Layer {
  readonly node: string;
  readonly file: string;
  readonly format: string;
  readonly bitmaps: readonly Qapi.BlockDirtyInfo[];
}

/** Whether a device as QEMU's queries call it is that of a handle, or a part of it. */
export function isQdevOf(qdev: string | undefined, handle: string): boolean {
  return qdev !== undefined && (qdev === handle || qdev.split("/").includes(handle));
}

/** The handle of the disk that a node belongs to by its name; undefined for nodes that QEMU has named itself. */
export function handleOfNode(node: string): string | undefined {
  return /^([a-z]+\d+)-/.exec(node)?.[1];
}

/** The id of the disk that stands on a node which QEMU has named itself, as a file below a merged overlay is. */
export async function diskOnNode(core: GuestCore, session: GuestSession, node: string): Promise<string | undefined> {
  const drives = await session.execute("query-block");
  const found = drives.find(({ inserted }) => inserted?.["node-name"] === node);
  return core.state.hardware.bindings.find(({ kind, handle }) => kind === "disk" && isQdevOf(found?.qdev, handle))?.id;
}

/** The handle of a disk that is there. @throws DiskNotFoundError; InvalidStateError while it is being plugged in or out */
export function diskHandle(core: GuestCore, diskId: string): string {
  const binding = bindingOf(core.state.hardware, "disk", diskId);
  if (binding === undefined || !core.definition.disks.some(({ id }) => id === diskId))
    throw new DiskNotFoundError(`the guest has no disk ${diskId}`, { instance: core.instance, device: diskId });
  if (binding.phase === undefined) return binding.handle;
  throw new InvalidStateError({
    operation: `work on disk ${diskId}`,
    state: binding.phase,
    expected: ["attached"],
    instance: core.instance,
    device: diskId,
  });
}

/** The drive of a handle, or undefined where QEMU has none. */
export async function findDrive(session: GuestSession, handle: string): Promise<Drive | undefined> {
  const found = (await session.execute("query-block")).find(({ qdev }) => isQdevOf(qdev, handle));
  if (found?.qdev === undefined) return undefined;
  const { qdev, inserted, tray_open: trayOpen = false } = found;
  const node = inserted?.["node-name"];
  if (inserted === undefined || node === undefined) return { qdev, trayOpen };
  return {
    qdev,
    trayOpen,
    inserted: { node, sizeBytes: Number(inserted.image["virtual-size"]), image: inserted.image },
  };
}

/** The drive of a disk, with something in it. @throws DiskNotFoundError */
export async function requireDrive(
  core: GuestCore,
  session: GuestSession,
  diskId: string,
): Promise<Required<Drive> & { readonly handle: string }> {
  const handle = diskHandle(core, diskId);
  const drive = await findDrive(session, handle);
  if (drive?.inserted === undefined)
    throw new DiskNotFoundError(`QEMU has nothing in drive ${diskId}`, { instance: core.instance, device: diskId });
  return { ...drive, inserted: drive.inserted, handle };
}

/**
 * Opens a disk's source under a name of its own, through the host's page cache where it can't be opened past it.
 * @throws QmpCommandError, SecretNotFoundError, DiskKeyError; then nothing of it is open
 */
export async function openDisk(
  core: GuestCore,
  session: GuestSession,
  name: string,
  given: LoadedDisk,
  more: JsonObject = {},
): Promise<void> {
  const disk = await openable(given);
  await addDiskObjects(core, session, name, disk.source);
  try {
    await addNode(session, { ...blockNodes(name, disk), ...more });
  } catch (error) {
    const reason = isQmpCommandError(error) ? await explainRefusal(core, session, name, disk, error) : error;
    await removeDiskObjects(session, name, []).catch(() => undefined);
    throw reason;
  }
}

/**
 * Why an encrypted disk could not be opened: if what it is kept on can be, it is the key. QEMU tells it only in words.
 */
async function explainRefusal(
  core: GuestCore,
  session: GuestSession,
  name: string,
  disk: LoadedDisk,
  error: Error,
): Promise<unknown> {
  if (disk.source.encryption === undefined) return error;
  const probe = `${name}-probe`;
  try {
    await addNode(session, { ...storageNode(name, disk), "node-name": probe });
  } catch {
    return error;
  }
  await closeNode(session, probe);
  return new DiskKeyError("the disk's key does not open it, or it is not encrypted", {
    instance: core.instance,
    device: disk.id,
    cause: error,
  });
}

/** Opens what a disk of a guest in memory is about to go over to, and what that is based on. @throws QmpCommandError, HostIoError, ImageUnacceptableError */
export async function openNext(
  core: GuestCore,
  session: GuestSession,
  name: string,
  disk: LoadedDisk,
  more: JsonObject = {},
): Promise<void> {
  await grantDisk(core, disk.source, disk.readOnly || disk.deviceType === "cdrom", diskPurpose(disk.id));
  await openDisk(core, session, name, disk, more);
}

/** Takes back from QEMU the file that a disk does not stand on any more. */
export async function letGo(core: GuestCore, diskId: string, source: DiskSource | undefined): Promise<void> {
  if (source !== undefined && isLocalSource(source)) await revokeAccess(core, source.path, diskPurpose(diskId));
}

export async function addNode(session: GuestSession, node: JsonObject): Promise<void> {
  await session.execute("blockdev-add", node as unknown as QmpArguments<"blockdev-add">);
}

/** A name that no nodes of the disk have: `disk3-1`. */
export async function freshName(session: GuestSession, handle: string): Promise<string> {
  const used = await nodeNames(session, handle);
  let generation = 1;
  while (used.includes(diskNode(`${handle}-${generation}`))) generation++;
  return `${handle}-${generation}`;
}

/** Closes what of a disk's nodes nothing stands on any more; true when none is left. */
export async function closeUnused(session: GuestSession, handle: string): Promise<boolean> {
  let left = await nodeNames(session, handle);
  for (let before = left.length + 1; left.length > 0 && left.length < before;) {
    before = left.length;
    // What stands on others has to go first, and which does QEMU only tells by refusing.
    for (const name of left) await closeNode(session, name);
    left = await nodeNames(session, handle);
  }
  await removeDiskObjects(session, handle, left);
  return left.length === 0;
}

/** Closes all nodes of a disk whose device is gone. @throws BusyError while work on the disk is under way */
export async function closeDisk(session: GuestSession, handle: string): Promise<void> {
  if (await closeUnused(session, handle)) return;
  throw new BusyError("work on the disk is under way, which keeps its files open", { device: handle });
}

async function closeNode(session: GuestSession, name: string): Promise<void> {
  await session.execute("blockdev-del", { "node-name": name }).catch((error: unknown) => {
    if (!isQmpCommandError(error)) throw error;
  });
}

/** Names of the nodes that belong to a disk, formats first. */
export async function nodeNames(session: GuestSession, handle: string): Promise<readonly string[]> {
  const names = (await namedNodes(session)).map((node) => node["node-name"] ?? "");
  const own = names.filter((name) => handleOfNode(name) === handle);
  return own.sort((a, b) => Number(b.endsWith("-format")) - Number(a.endsWith("-format")));
}

/** The files of a disk's chain, what the guest writes to first. */
export async function layersOf(session: GuestSession, drive: Required<Drive>): Promise<readonly Layer[]> {
  const nodes = await namedNodes(session);
  const { node, image } = drive.inserted;
  const layers: Layer[] = [];
  for (let below: Qapi.ImageInfo | undefined = image; below !== undefined; below = below["backing-image"]) {
    const info = below;
    const found = nodes.find((candidate) =>
      info === image
        ? candidate["node-name"] === node
        : candidate.file === info.filename && candidate.drv === info.format,
    );
    if (found !== undefined) layers.push(layer(found));
  }
  return layers;
}

function layer(info: Qapi.BlockDeviceInfo): Layer {
  const { file, drv: format } = info;
  return { node: info["node-name"] ?? "", file, format, bitmaps: info["dirty-bitmaps"] ?? [] };
}

export async function namedNodes(session: GuestSession): Promise<readonly Qapi.BlockDeviceInfo[]> {
  return session.execute("query-named-block-nodes", { flat: true });
}

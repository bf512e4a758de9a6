/** Work on the disks of a guest that may be running: growing, copying, mirroring, overlays. */
import { ConflictError, InvalidArgumentError } from "../core/index.js";
import { DeviceAttachError, DiskNotFoundError } from "../driver/index.js";
import type { GuestDefinition, GuestDisk } from "../driver/index.js";
import type { DiskSource, DiskSourceFormat } from "../storage/index.js";
import { diskObstacle, lockDisk, unlockDisk } from "./guest-devices.js";
import { extrasOf, inMemory } from "./guest-record.js";
import type { GuestRecord } from "./guest-record.js";
import type { FakeHost } from "./host.js";
import type { FakeProcess, Halfway } from "./process.js";
import { EMPTY } from "./storage.js";
import type { FakeFile } from "./storage.js";
import { transfer } from "./transfer.js";

/** @throws DiskNotFoundError */
export function diskOf(definition: GuestDefinition, diskId: string): GuestDisk {
  const disk = definition.disks.find((one) => one.id === diskId);
  if (disk === undefined)
    throw new DiskNotFoundError("The guest has no such disk", { instance: definition, device: diskId });
  return disk;
}

export function resizeDisk(host: FakeHost, record: GuestRecord, diskId: string, sizeBytes: number): void {
  const disk = diskOf(record.definition, diskId);
  const file = host.resolve(disk.source);
  const extras = extrasOf(record);
  const known = extras.diskSizes[diskId] ?? 0;
  if (sizeBytes < known)
    throw new InvalidArgumentError({ field: "sizeBytes", value: sizeBytes, expected: `${known} or more` });
  if (typeof file === "object" && file.virtualSizeBytes < sizeBytes) host.storageOf(file).resize(file, sizeBytes);
  extras.diskSizes[diskId] = sizeBytes;
}

/** Copies the disk to `target` and goes over to it; until then the guest keeps what it has. */
export async function mirrorDisk(
  process: FakeProcess,
  record: GuestRecord,
  diskId: string,
  target: DiskSource,
  signal: AbortSignal | undefined,
  halfway: Halfway,
): Promise<void> {
  const { host } = process;
  const { uuid } = record.definition;
  const disk = diskOf(record.definition, diskId);
  const obstacle = diskObstacle(host, uuid, { ...disk, source: target });
  if (obstacle !== undefined) {
    throw new DeviceAttachError("The copy can't be opened", {
      instance: record.definition,
      device: diskId,
      detail: obstacle,
    });
  }
  const from = host.resolve(disk.source);
  const to = host.resolve(target);
  const bytes = sizeOf(from);
  if (sizeOf(to) < bytes)
    throw new InvalidArgumentError({ field: "target", value: sizeOf(to), expected: `${bytes} bytes or more` });
  const mirror = { ...disk, source: target };
  lockDisk(host, uuid, mirror);
  try {
    await transfer(process, { bytes, mibps: host.rates.diskMiBps, signal });
    await halfway();
    if (!inMemory(record))
      throw new DeviceAttachError("The guest ended under the copy", { instance: record.definition });
  } catch (error) {
    unlockDisk(host, uuid, mirror);
    throw error;
  }
  if (typeof from === "object" && typeof to === "object") to.content = from.content;
  changeSource(host, record, diskId, target);
}

/** Writes a flattened copy to a new file on the host's storage. */
export async function copyDisk(
  process: FakeProcess,
  record: GuestRecord,
  diskId: string,
  target: { readonly path: string; readonly format: DiskSourceFormat },
  signal: AbortSignal | undefined,
  halfway: Halfway,
): Promise<void> {
  const from = process.host.resolve(diskOf(record.definition, diskId).source);
  await writeCopy(process, record.definition.uuid, from, target, signal, halfway);
}

/** Makes a file with the content of another; on abort it is removed. */
export async function writeCopy(
  process: FakeProcess,
  owner: string,
  from: FakeFile | "foreign" | undefined,
  target: { readonly path: string; readonly format: DiskSourceFormat },
  signal: AbortSignal | undefined,
  halfway: Halfway,
): Promise<void> {
  const { storage, rates } = process.host;
  const bytes = sizeOf(from);
  const allocatedBytes = typeof from === "object" ? from.allocatedBytes : 0;
  const file = storage.add({
    path: target.path,
    kind: "temporaryFile",
    owner,
    name: target.path.slice(target.path.lastIndexOf("/") + 1),
    format: target.format,
    virtualSizeBytes: bytes,
    allocatedBytes,
    content: EMPTY,
    backing: undefined,
    complete: false,
  });
  try {
    await transfer(process, { bytes: allocatedBytes, mibps: rates.diskMiBps, signal });
  } catch (error) {
    if (process.alive) storage.remove(file.path);
    throw error;
  }
  await halfway();
  file.content = typeof from === "object" ? from.content : EMPTY;
  file.complete = true;
}

/** Puts an overlay on a disk: the guest writes to it from then on. */
export function snapshotDisk(host: FakeHost, record: GuestRecord, diskId: string, overlay: DiskSource): void {
  const disk = diskOf(record.definition, diskId);
  const obstacle = diskObstacle(host, record.definition.uuid, { ...disk, source: overlay });
  const present = host.resolve(disk.source);
  const file = host.resolve(overlay);
  if (
    obstacle !== undefined ||
    (typeof file === "object" && typeof present === "object" && file.backing !== present.path)
  ) {
    const detail = obstacle ?? "the file does not refer to the disk's present one";
    throw new DeviceAttachError("The overlay can't be put on the disk", {
      instance: record.definition,
      device: diskId,
      detail,
    });
  }
  if (typeof file === "object" && typeof present === "object") file.content = present.content;
  changeSource(host, record, diskId, overlay);
}

/** Merges the overlay into `base`, which has to be below it. */
export async function commitDisk(
  process: FakeProcess,
  record: GuestRecord,
  diskId: string,
  base: DiskSource,
  signal: AbortSignal | undefined,
  halfway: Halfway,
): Promise<void> {
  const { host } = process;
  const disk = diskOf(record.definition, diskId);
  const present = host.resolve(disk.source);
  const below = host.resolve(base);
  if (typeof present === "object" && typeof below === "object") {
    if (!isBelow(host, present, below))
      throw new ConflictError("The file is not below the disk's present one", { device: diskId });
    await transfer(process, { bytes: present.allocatedBytes, mibps: host.rates.diskMiBps, signal });
    below.content = present.content;
  }
  await halfway();
  changeSource(host, record, diskId, base);
}

/** Copies what is between `base` and the disk's present file into that. */
export async function pullDisk(
  process: FakeProcess,
  record: GuestRecord,
  diskId: string,
  base: DiskSource | undefined,
  signal: AbortSignal | undefined,
  halfway: Halfway,
): Promise<void> {
  const { host } = process;
  const present = host.resolve(diskOf(record.definition, diskId).source);
  const below = base === undefined ? undefined : host.resolve(base);
  if (typeof present !== "object" || typeof below === "string") return halfway();
  if (below !== undefined && !isBelow(host, present, below))
    throw new ConflictError("The file is not below the disk's present one", { device: diskId });
  await transfer(process, { bytes: present.virtualSizeBytes, mibps: host.rates.diskMiBps, signal });
  await halfway();
  present.backing = below?.path;
}

function isBelow(host: FakeHost, overlay: FakeFile, base: FakeFile): boolean {
  for (let path = overlay.backing; path !== undefined;) {
    if (path === base.path) return true;
    const file = host.resolve({ type: "file", path, format: "raw" });
    path = typeof file === "object" ? file.backing : undefined;
  }
  return false;
}

function changeSource(host: FakeHost, record: GuestRecord, diskId: string, source: DiskSource): void {
  const { definition } = record;
  const disk = diskOf(definition, diskId);
  if (inMemory(record)) {
    unlockDisk(host, definition.uuid, disk);
    lockDisk(host, definition.uuid, { ...disk, source });
  }
  const disks = definition.disks.map((one) => (one.id === diskId ? { ...one, source } : one));
  record.definition = { ...definition, disks };
}

function sizeOf(file: FakeFile | "foreign" | undefined): number {
  return typeof file === "object" ? file.virtualSizeBytes : 0;
}

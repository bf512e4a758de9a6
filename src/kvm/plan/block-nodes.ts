/** Disks' block nodes in QEMU's own terms: what `-blockdev` and, for a running guest, `blockdev-add` take. Pure. */
import type { JsonObject } from "../../core/index.js";
import type { GuestDisk } from "../../driver/index.js";
import { diskObjectId, isLocalSource, protocolOptions } from "../../storage/index.js";
import type { DiskSource } from "../../storage/index.js";
import { fileTuning, formatTuning, nodeTuning } from "./disk-tuning.js";

/** A disk that has something in it to read. */
export type LoadedDisk = GuestDisk & { readonly source: DiskSource };

export function isLoaded(disk: GuestDisk): disk is LoadedDisk {
  return disk.source !== undefined;
}

/** Name of the block node that a disk's device stands on. */
export function diskNode(handle: string): string {
  return `${handle}-format`;
}

/** What the nodes of a disk are called after, by the name of its top one. */
export function nameOfDiskNode(node: string): string {
  return node.replace(/-format$/, "");
}

/** Name of the node that decrypts a raw source. */
export function luksNode(name: string): string {
  return `${name}-luks`;
}

/**
 * A disk's block nodes as one `blockdev-add`: format over protocol, and between them what decrypts a raw source. Over that there is a raw node, so that a
 * node whose size is what the guest sees, and can be made less, is at the top of every disk.
 */
export function blockNodes(name: string, disk: LoadedDisk): JsonObject {
  const { source } = disk;
  const common = commonOf(disk);
  return {
    driver: source.format,
    "node-name": diskNode(name),
    ...common,
    ...(common["read-only"] === true ? {} : formatTuning(disk)),
    ...contentOf(name, source, common, storageNode(name, disk)),
  };
}

/** The node for what a disk is kept on, whatever is in it. */
export function storageNode(name: string, disk: LoadedDisk): JsonObject {
  const { source } = disk;
  return {
    ...protocolOptions(name, source),
    "node-name": `${name}-storage`,
    ...commonOf(disk),
    ...(isLocalSource(source) ? fileTuning(disk) : {}),
  };
}

function commonOf(disk: LoadedDisk): JsonObject {
  const readOnly = disk.readOnly || disk.deviceType === "cdrom";
  return { "read-only": readOnly, ...nodeTuning(disk, readOnly) };
}

/** What a format node stands on, and what it is told of it. */
function contentOf(name: string, source: DiskSource, common: JsonObject, storage: JsonObject): JsonObject {
  const { encryption, format } = source;
  if (encryption === undefined) return { file: storage };
  const key = { "key-secret": diskObjectId(name, "luks") };
  if (format === "qcow2") return { encrypt: { format: encryption.format, ...key }, file: storage };
  return { file: { driver: encryption.format, "node-name": luksNode(name), ...key, ...common, file: storage } };
}

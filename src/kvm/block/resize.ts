/** Telling a running guest that a disk has grown. */
import type { CommonOptions } from "../../core/index.js";
import { DiskNotFoundError } from "../../driver/index.js";
import type { GuestCore } from "../guest-core.js";
import { bindingOf } from "../plan/hardware.js";
import { luksNode, nameOfDiskNode } from "../plan/block-nodes.js";
import type { GuestSession } from "../session.js";
import { findDrive, namedNodes } from "./nodes.js";

/**
 * `sizeBytes` is what the disk takes where it is kept: of an encrypted one the guest sees less. Without effect while the guest is not in memory.
 * @throws DiskNotFoundError
 */
export async function resizeDisk(
  core: GuestCore,
  diskId: string,
  sizeBytes: number,
  { signal, deadline }: CommonOptions,
): Promise<void> {
  const binding = bindingOf(core.state.hardware, "disk", diskId);
  if (!core.definition.disks.some(({ id }) => id === diskId))
    throw new DiskNotFoundError(`the guest has no disk ${diskId}`, { instance: core.instance, device: diskId });
  const { session } = core;
  if (session === undefined || binding === undefined) return;
  const drive = await findDrive(session, binding.handle);
  if (drive?.inserted === undefined) return;
  const { node } = drive.inserted;
  const args = { "node-name": node, size: sizeBytes - (await headerBytes(session, node)) };
  await session.execute("block_resize", args, { signal, deadlineMs: deadline });
}

/** What a LUKS header takes of a raw source. */
async function headerBytes(session: GuestSession, node: string): Promise<number> {
  const below = luksNode(nameOfDiskNode(node));
  const info = (await namedNodes(session)).find((candidate) => candidate["node-name"] === below);
  const specific = info?.image["format-specific"];
  return specific?.type === "luks" ? Number(specific.data["payload-offset"]) : 0;
}

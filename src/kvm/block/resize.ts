/** Telling a running guest that a disk has grown. */
import type { CommonOptions } from "../../core/index.js";
import { DiskNotFoundError } from "../../driver/index.js";
import type { GuestCore } from "../guest-core.js";
import { bindingOf } from "../plan/hardware.js";
import { findDrive } from "./nodes.js";

/** Without effect while the guest is not in memory. @throws DiskNotFoundError */
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
  const args = { "node-name": drive.inserted.node, size: sizeBytes };
  await session.execute("block_resize", args, { signal, deadlineMs: deadline });
}

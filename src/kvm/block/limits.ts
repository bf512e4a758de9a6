/** Limits on what a guest may do to its disks. QEMU keeps them with the drive, whatever it stands on. */
import type { CommonOptions } from "../../core/index.js";
import { DiskNotFoundError, diskLimitsCheck } from "../../driver/index.js";
import type { DiskLimits, GuestDisk } from "../../driver/index.js";
import type { QmpArguments } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import { requireHere } from "../migration/guard.js";
import { throttleOf } from "../plan/disk-tuning.js";
import { bindingOf } from "../plan/hardware.js";
import type { GuestSession } from "../session.js";
import { findDrive } from "./nodes.js";

/**
 * Sets the limits of a disk in place of those that it has.
 * @throws DiskNotFoundError, InvalidArgumentError; then the old ones stand
 */
export async function limitDisk(
  core: GuestCore,
  diskId: string,
  given: DiskLimits,
  options: CommonOptions,
): Promise<void> {
  const limits = diskLimitsCheck(given, "limits");
  requireHere(core, "limitDisk");
  const disk = core.definition.disks.find(({ id }) => id === diskId);
  if (disk === undefined)
    throw new DiskNotFoundError(`the guest has no disk ${diskId}`, { instance: core.instance, device: diskId });
  const { session } = core;
  // What has been recorded is set again by whoever takes the guest up, should this process die in between.
  const before = disk.tuning?.limits ?? {};
  await core.update((state) => ({
    ...state,
    definition: { ...state.definition, disks: state.definition.disks.map((one) => withLimits(one, diskId, limits)) },
  }));
  if (session === undefined) return;
  try {
    await applyDiskLimits(core, session, { ...disk, tuning: { ...disk.tuning, limits } }, options);
  } catch (error) {
    await core.update((state) => ({
      ...state,
      definition: { ...state.definition, disks: state.definition.disks.map((one) => withLimits(one, diskId, before)) },
    }));
    throw error;
  }
}

/** Tells QEMU the limits of all disks that have some. */
export async function applyAllDiskLimits(core: GuestCore, session: GuestSession): Promise<void> {
  for (const disk of core.definition.disks)
    if (disk.tuning?.limits !== undefined) await applyDiskLimits(core, session, disk, {});
}

/** Tells QEMU the limits of a disk. A drive without a medium gets them with the next one. */
export async function applyDiskLimits(
  core: GuestCore,
  session: GuestSession,
  { id, tuning }: GuestDisk,
  { signal, deadline }: CommonOptions,
): Promise<void> {
  const handle = bindingOf(core.state.hardware, "disk", id)?.handle;
  const drive = handle === undefined ? undefined : await findDrive(session, handle);
  if (drive?.inserted === undefined) return;
  const args = throttleOf(drive.qdev, tuning?.limits ?? {}) as QmpArguments<"block_set_io_throttle">;
  await session.execute("block_set_io_throttle", args, { signal, deadlineMs: deadline });
}

function withLimits(disk: GuestDisk, id: string, limits: DiskLimits): GuestDisk {
  return disk.id === id ? { ...disk, tuning: { ...disk.tuning, limits } } : disk;
}

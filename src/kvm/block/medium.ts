/** Changing what is in a CD or floppy drive. */
import { isDeepStrictEqual } from "node:util";
import { DeadlineExceededError, InvalidArgumentError } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { DeviceDetachError, DiskNotFoundError } from "../../driver/index.js";
import type { GuestDisk } from "../../driver/index.js";
import { diskSourceCheck } from "../../storage/index.js";
import type { DiskSource } from "../../storage/index.js";
import { checkDisk } from "../definition-check.js";
import type { GuestCore } from "../guest-core.js";
import { requireHere } from "../migration/guard.js";
import { diskNode } from "../plan/block-nodes.js";
import { applyDiskLimits } from "./limits.js";
import { diskHandle, findDrive, freshName, isQdevOf, letGo, openNext } from "./nodes.js";
import { withSource, withWork } from "./work.js";
import type { WorkContext } from "./work.js";

export interface ChangeOptions extends CommonOptions {
  /** Also when the guest has locked the drive. */
  readonly force?: boolean;
}

/**
 * Puts a medium into a drive in place of the one that is there, or takes that out. A guest that has locked its drive is asked to let go.
 * @throws DiskNotFoundError; InvalidArgumentError for a disk that is no drive; DeviceDetachError when the guest does not let go; DeviceAttachError, BusyError,
 * AbortedError. Then the drive has what it had.
 */
export async function changeMedium(
  core: GuestCore,
  diskId: string,
  given: DiskSource | undefined,
  options: ChangeOptions,
): Promise<void> {
  const source = given === undefined ? undefined : diskSourceCheck(given, "source");
  const disk = requireRemovable(core, diskId);
  requireHere(core, "changeMedium");
  if (isDeepStrictEqual(disk.source, source)) return;
  if (source !== undefined) checkDisk({ ...disk, source }, core.state.hardware.machine, "disk");
  if (core.session === undefined) return core.update((state) => withSource(state, diskId, source));
  const handle = diskHandle(core, diskId);
  await withWork(
    core,
    "changeMedium",
    options,
    async ({ session }) => {
      const node = (await findDrive(session, handle))?.inserted?.node;
      const move = {
        diskId,
        ...(node === undefined ? {} : { node }),
        ...(disk.source === undefined ? {} : { from: disk.source }),
        ...(source === undefined ? {} : { to: source }),
      };
      return { diskIds: [diskId], jobs: [], files: [], bitmaps: [], move };
    },
    async (context) => {
      const { session, deadline } = context;
      const name = await freshName(session, handle);
      if (source !== undefined) await openNext(core, session, name, { ...disk, source });
      deadline.throwIfExpired();
      const id = await openTray(core, context, disk, handle, options.force === true);
      await session.execute("blockdev-remove-medium", { id });
      if (source !== undefined) await session.execute("blockdev-insert-medium", { id, "node-name": diskNode(name) });
      await session.execute("blockdev-close-tray", { id });
      await applyDiskLimits(core, session, disk, {});
      await letGo(core, diskId, disk.source);
      return (state) => withSource(state, diskId, source);
    },
  );
}

function requireRemovable(core: GuestCore, diskId: string): GuestDisk {
  const disk = core.definition.disks.find(({ id }) => id === diskId);
  if (disk === undefined)
    throw new DiskNotFoundError(`the guest has no disk ${diskId}`, { instance: core.instance, device: diskId });
  if (disk.deviceType === "disk")
    throw new InvalidArgumentError({ field: "diskId", value: diskId, expected: "a drive whose medium can be changed" });
  return disk;
}

/** Opens the tray, where the drive has one. QEMU passes the wish on to a guest that has locked it, and succeeds at once. */
async function openTray(
  core: GuestCore,
  { session, deadline }: WorkContext,
  disk: GuestDisk,
  handle: string,
  force: boolean,
): Promise<string> {
  const client = await session.client({ signal: deadline.signal });
  const deadlineMs = core.host.timeouts.trayMs;
  const opened = client.waitFor("DEVICE_TRAY_MOVED", ({ data }) => data["tray-open"] && isQdevOf(data.id, handle), {
    signal: deadline.signal,
    deadlineMs,
  });
  // Only those drives that the guest keeps shut are waited for.
  opened.catch(() => undefined);
  const drive = await findDrive(session, handle);
  if (drive === undefined)
    throw new DiskNotFoundError(`QEMU has no drive ${disk.id}`, { instance: core.instance, device: disk.id });
  await session.execute("blockdev-open-tray", { id: drive.qdev, force });
  const now = await findDrive(session, handle);
  if (disk.deviceType !== "cdrom" || now?.trayOpen === true) return drive.qdev;
  try {
    await opened;
    return drive.qdev;
  } catch (error) {
    if (!(error instanceof DeadlineExceededError) || deadline.expired) throw error;
    throw new DeviceDetachError("the guest has locked the drive and does not let go of the medium", {
      instance: core.instance,
      device: disk.id,
      retryable: true,
      remedy: "Unmount the medium in the guest, or change it by force.",
    });
  }
}

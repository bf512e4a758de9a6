/** libvirt's jobs on single disks: copies and commits, followed by events to where the guest can go over, and ended. */
import type { Deadline } from "../../../core/index.js";
import { StorageError, DiskFullError } from "../../../storage/index.js";
import type { DiskSource } from "../../../storage/index.js";
import type { GuestCore, GuestListener } from "../guest-core.js";
import { readDomainOf } from "../hotplug/find-device.js";
import { requireStillThere } from "./guest-gone.js";
import { unlessAway } from "./reach-daemon.js";
import { isFullBelow } from "./target-file.js";

/**
 * Waits until the job on a disk has copied everything and follows what the guest writes.
 * @param listener from before the job began
 * @param target libvirt's name of the disk
 * @param copiesTo what the job writes to
 * @throws DiskFullError, StorageError when it failed; GuestCrashedError, InvalidStateError, AbortedError, DeadlineExceededError
 */
export async function waitUntilReady(
  core: GuestCore,
  listener: GuestListener,
  target: string,
  copiesTo: DiskSource,
  deadline: Deadline,
): Promise<void> {
  const outcome = await listener.until<"ready" | "ended">(
    async (signal) => {
      requireStillThere(core, deadline.operation);
      // What an event says may still be about a job before this one.
      const telling = signal === undefined || signal.type === "gap" || signal.type === "blockJob";
      if (!telling || (signal?.type === "blockJob" && signal.target !== target)) return undefined;
      return unlessAway(() => stageOf(core, target));
    },
    { operation: deadline.operation, deadlineMs: deadline.remainingMs + 1, signal: deadline.signal },
  );
  if (outcome === "ready") return;
  if (await isFullBelow(copiesTo)) throw new DiskFullError("the storage that is copied to is full");
  throw new StorageError("libvirt could not copy the disk");
}

/** Has the guest go over to what the job has written. There is no way back. `virDomainBlockJobAbort` with `VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT`. @throws LibvirtError */
export async function pivot({ domain, host }: GuestCore, target: string): Promise<void> {
  await domain.blockJobAbort(target, { flags: ["pivot"], deadlineMs: host.timeouts.callMs });
}

/** Ends a disk's job, wherever it is; the guest keeps what it has. Success when there is none. @throws LibvirtError */
export async function endBlockJob(core: GuestCore, target: string): Promise<void> {
  const { domain, host } = core;
  if (!(await hasJob(core, target))) return;
  try {
    await domain.blockJobAbort(target, { deadlineMs: host.timeouts.cancelMs });
  } catch (error) {
    if (await hasJob(core, target)) throw error;
  }
}

/** Whether a job is on a disk. */
export async function hasJob({ domain, host }: GuestCore, target: string): Promise<boolean> {
  const { found } = await domain.getBlockJobInfo(target, { deadlineMs: host.timeouts.callMs });
  return found !== 0;
}

/** How far the job is. */
async function stageOf(core: GuestCore, target: string): Promise<"ready" | "ended" | undefined> {
  const { devices } = await readDomainOf(core, "live");
  const disk = devices?.disk?.find((each) => each.target?.dev === target);
  if (disk?.mirror?.ready === "yes") return "ready";
  return disk?.mirror === undefined && !(await hasJob(core, target)) ? "ended" : undefined;
}

/** Copies of a running guest's disks as they are at one point in time, each flattened into a new file. */
import { check } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { notify } from "../../hypervisor/index.js";
import { DISK_SOURCE_FORMATS } from "../../storage/index.js";
import type { DiskSourceFormat } from "../../storage/index.js";
import type { GuestCore } from "../guest-core.js";
import { JOB_RULES, reach, startJob } from "./job.js";
import { diskHandle, requireDrive } from "./nodes.js";
import { formatJob, openTarget, refuseTaken } from "./target-file.js";
import { withWork } from "./work.js";

export interface CopyOptions extends CommonOptions {
  /** Called once the point is fixed. */
  readonly onPointInTime?: () => void;
}

/**
 * Copies a disk to a new file. A qcow2 file holds what the disk holds; a raw one takes up its whole size, since QEMU fills the rest with zeros.
 * @throws DiskNotFoundError, ConflictError when something is at the path; DiskFullError, StorageError, HostIoError, InvalidStateError, BusyError, AbortedError.
 * Then no file is left.
 */
export async function copyDisk(
  core: GuestCore,
  diskId: string,
  path: string,
  format: DiskSourceFormat,
  options: CopyOptions,
): Promise<void> {
  check.absolutePath()(path, "path");
  check.oneOf(DISK_SOURCE_FORMATS)(format, "format");
  const handle = diskHandle(core, diskId);
  const job = `copy-${handle}`;
  await withWork(
    core,
    "copyDisk",
    options,
    async ({ session }) => {
      await requireDrive(core, session, diskId);
      await refuseTaken([path]);
      return { diskIds: [diskId], jobs: [job, formatJob(handle)], files: [path], bitmaps: [] };
    },
    async ({ session, deadline }) => {
      const { inserted } = await requireDrive(core, session, diskId);
      const { sizeBytes, node } = inserted;
      const target = await openTarget(core, session, handle, { path, format, sizeBytes }, deadline);
      deadline.throwIfExpired();
      await startJob(session, "blockdev-backup", {
        ...JOB_RULES,
        "job-id": job,
        device: node,
        target,
        sync: "full",
        "filter-node-name": `${handle}-copying`,
      });
      notify(options.onPointInTime);
      await reach(session, job, "concluded", deadline);
      return (state) => state;
    },
  );
}

/** Copies of a running guest's disks as they are at one point in time, each flattened into a new file. */
import { check } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { DISK_SOURCE_FORMATS } from "../../../storage/index.js";
import type { DiskSourceFormat } from "../../../storage/index.js";
import type { GuestCore } from "../guest-core.js";
import { requireLive } from "./live-disk.js";
import { pushBackup } from "./push-backup.js";
import { refuseTaken } from "./target-file.js";
import { withWork } from "./work.js";

export interface CopyOptions extends CommonOptions {
  /** Called once the point is fixed. */
  readonly onPointInTime?: () => void;
}

/**
 * Copies a disk to a new file by a backup job, which reads through the whole chain. A qcow2 file holds what the disk holds; a raw one takes up its whole size, since QEMU fills the rest with zeros.
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
  await withWork(
    core,
    "copyDisk",
    options,
    async () => {
      await requireLive(core, diskId);
      await refuseTaken([path]);
      return { kind: "backup", targets: [], files: [path] };
    },
    async (context) => {
      await pushBackup(core, context, [{ diskId, path, format }], { onPointInTime: options.onPointInTime });
      return (state) => state;
    },
  );
}

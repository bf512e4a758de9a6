/** One backup job of libvirt's: disks as they are at one point in time, each written to a new file. */
import type { CopyProgress, GuestBackupDisk } from "../../../driver/index.js";
import { notify, withCopyProgress } from "../../../hypervisor/index.js";
import {
  domainBackupXml,
  domainCheckpointXml,
  formatDomainBackupXml,
  formatDomainCheckpointXml,
} from "../../xml/index.js";
import type { GuestCore } from "../guest-core.js";
import { jobProgress, waitForBackup } from "./domain-job.js";
import { requireLive } from "./live-disk.js";
import { makeDiskFile } from "./target-file.js";
import type { WorkContext } from "./work.js";

export interface PushOptions {
  /** libvirt's names of checkpoints. */
  readonly since?: string | undefined;
  readonly checkpoint?: string | undefined;
  /** Called once the point is fixed. */
  readonly onPointInTime?: (() => void) | undefined;
  readonly onCopyProgress?: ((progress: CopyProgress) => void) | undefined;
}

/** `virDomainBackupBegin`. The files are made here. @throws ConflictError, DiskFullError, StorageError, HostIoError, LibvirtError, AbortedError */
export async function pushBackup(
  core: GuestCore,
  { deadline, listener }: WorkContext,
  disks: readonly GuestBackupDisk[],
  { since, checkpoint, onPointInTime, onCopyProgress }: PushOptions,
): Promise<void> {
  const { domain, host } = core;
  const limits = { deadlineMs: host.timeouts.callMs };
  const files: Record<string, { readonly file: string; readonly format: string }> = {};
  for (const { diskId, path, format } of disks) {
    const { target } = await requireLive(core, diskId);
    const { capacity } = await domain.getBlockInfo(target, limits);
    await makeDiskFile(core, { path, format, sizeBytes: Number(capacity) });
    files[target] = { file: path, format };
  }
  const noted = Object.fromEntries(Object.keys(files).map((target) => [target, true]));
  const checkpointXml =
    checkpoint === undefined
      ? {}
      : { checkpointXml: formatDomainCheckpointXml(domainCheckpointXml({ name: checkpoint, disks: noted })) };
  const xml = formatDomainBackupXml(domainBackupXml({ mode: "push", since, disks: files }));
  deadline.throwIfExpired();
  await domain.backupBegin(xml, { ...checkpointXml, flags: ["reuseExternal"], ...limits });
  notify(onPointInTime);
  const paths = disks.map(({ path }) => path);
  await withCopyProgress(
    host,
    () => jobProgress(core),
    onCopyProgress,
    () => waitForBackup(core, listener, paths, deadline),
  );
}

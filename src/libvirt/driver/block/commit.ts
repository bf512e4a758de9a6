/** Overlays on a running guest's disks: merged back into what they are on. */
import { ConflictError, NotSupportedError } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { diskSourceCheck, isLocalSource } from "../../../storage/index.js";
import type { DiskSource, LocalDiskSource } from "../../../storage/index.js";
import type { LibvirtXml } from "../../xml/index.js";
import type { GuestCore } from "../guest-core.js";
import type { FoundDisk } from "../plan/index.js";
import { pivot, waitUntilReady } from "./block-job.js";
import { isSameFile } from "./is-same-file.js";
import { refuseUnfit, requireLive, requireLoaded } from "./live-disk.js";
import { refuseEncrypted } from "./snapshot.js";
import { withWork } from "./work.js";

/**
 * Merges everything above `base`, which is below the disk's present source, into it, and has the guest go over to it. The overlays are not needed any more then,
 * and not removed. `virDomainBlockCommit`.
 * @throws DiskNotFoundError; ConflictError when `base` is not below; NotSupportedError, DeviceAttachError, DiskFullError, StorageError, InvalidStateError, BusyError, AbortedError.
 * Then the guest keeps its overlay; what has come into `base` by then is hidden by it.
 */
export async function commitDisk(
  core: GuestCore,
  diskId: string,
  given: DiskSource,
  options: CommonOptions,
): Promise<void> {
  const base = diskSourceCheck(given, "base");
  const disk = requireLoaded(core, diskId);
  refuseUnfit(core, disk, base);
  refuseEncrypted(core, disk, base);
  if (!isLocalSource(base)) throw new NotSupportedError({ capability: "merging an overlay into network storage" });
  let name = "";
  await withWork(
    core,
    "commitDisk",
    options,
    async () => {
      const found = await requireLive(core, diskId);
      name = await nameBelow(core, found, base, diskId);
      return { kind: "blockJob", targets: [found.target], files: [], move: { diskId, from: disk.source, to: base } };
    },
    async ({ deadline, listener }, { targets: [target = ""] }) => {
      const { domain, host } = core;
      deadline.throwIfExpired();
      await domain.blockCommit(target, 0, { base: name, flags: ["active"], deadlineMs: host.timeouts.callMs });
      await waitUntilReady(core, listener, target, base, deadline);
      deadline.throwIfExpired();
      await pivot(core, target);
      return (state) => state;
    },
  );
}

/** libvirt's name of the image that a path names in the chain of a disk: `vda[3]`, or the path where it has no numbers. */
export async function nameBelow(
  core: GuestCore,
  { target, xml }: FoundDisk,
  { path, format }: LocalDiskSource,
  diskId: string,
): Promise<string> {
  let below: LibvirtXml.DomainBackingStore | undefined = xml.backingStore;
  for (; below?.source !== undefined; below = below.backingStore) {
    const file = below.source.file ?? below.source.dev;
    if (file === undefined || below.format?.type !== format || !(await isSameFile(file, path))) continue;
    return below.index === undefined ? file : `${target}[${below.index}]`;
  }
  throw new ConflictError("the file is not below the disk's present one", { instance: core.instance, device: diskId });
}

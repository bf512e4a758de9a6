/** Overlays on a running guest's disks: put on. */
import { InvalidArgumentError, NotSupportedError, isHyperviseError } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { DeviceAttachError } from "../../../driver/index.js";
import { diskSourceCheck, isLocalSource } from "../../../storage/index.js";
import type { DiskSource } from "../../../storage/index.js";
import { domainSnapshotXml, formatDomainSnapshotXml } from "../../xml/index.js";
import type { LibvirtXml } from "../../xml/index.js";
import type { GuestCore } from "../guest-core.js";
import { readDomainOf } from "../hotplug/find-device.js";
import { readDomain } from "../plan/index.js";
import { isSameFile } from "./is-same-file.js";
import { refuseUnfit, requireLive, requireLoaded } from "./live-disk.js";
import type { LoadedDisk } from "./live-disk.js";
import { readOverlay } from "./read-overlay.js";
import { withWork } from "./work.js";

/**
 * Puts an overlay on a disk: an existing, empty qcow2 file whose backing file is the disk's present source. The guest writes to it from then on. No snapshot is
 * known to libvirt afterwards. `virDomainSnapshotCreateXML`.
 * @throws DiskNotFoundError, InvalidArgumentError, ConflictError, NotSupportedError, InvalidStateError, BusyError, AbortedError; DeviceAttachError when the overlay
 * can't be opened or is none of this disk. Then the guest has what it had.
 */
export async function snapshotDisk(
  core: GuestCore,
  diskId: string,
  given: DiskSource,
  options: CommonOptions,
): Promise<void> {
  const overlay = diskSourceCheck(given, "overlay");
  const disk = requireLoaded(core, diskId);
  refuseUnfit(core, disk, overlay);
  refuseEncrypted(core, disk, overlay);
  if (overlay.format !== "qcow2")
    throw new InvalidArgumentError({ field: "overlay.format", value: overlay.format, expected: "qcow2" });
  if (!isLocalSource(overlay)) throw new NotSupportedError({ capability: "overlays on network storage" });
  const { domain, host } = core;
  await withWork(
    core,
    "snapshotDisk",
    options,
    async () => {
      const { target } = await requireLive(core, diskId);
      const info = await domain.getBlockInfo(target, { deadlineMs: host.timeouts.callMs });
      await requireOverlay(core, overlay.path, disk.source, Number(info.capacity));
      return { kind: "atOnce", targets: [target], files: [], move: { diskId, from: disk.source, to: overlay } };
    },
    async ({ deadline }, { targets: [target = ""] }) => {
      const { disks } = readDomain(await readDomainOf(core, "live"));
      const others = disks.map((each) => each.target).filter((name) => name !== target);
      const flags = ["noMetadata", "diskOnly", "reuseExt", "atomic"] as const;
      deadline.throwIfExpired();
      await domain.createSnapshotXml(snapshotXml(target, overlay, others), { flags, deadlineMs: host.timeouts.callMs });
      return (state) => state;
    },
  );
}

/** What is below an overlay libvirt opens by itself, without a key. @throws NotSupportedError */
export function refuseEncrypted({ instance }: GuestCore, disk: LoadedDisk, other: DiskSource): void {
  if (disk.source.encryption === undefined && other.encryption === undefined) return;
  throw new NotSupportedError({ capability: "overlays of encrypted disks", instance, device: disk.id });
}

function snapshotXml(
  target: string,
  { type, path }: Extract<DiskSource, { readonly path: string }>,
  others: readonly string[],
): string {
  const xml = domainSnapshotXml({ disks: Object.fromEntries(others.map((name) => [name, "no" as const])) });
  const disk: LibvirtXml.DomainSnapshotDisksDisk = {
    name: target,
    snapshot: "external",
    type,
    driver: { type: "qcow2" },
    source: type === "file" ? { file: path } : { dev: path },
  };
  return formatDomainSnapshotXml({ ...xml, disks: { disk: [disk, ...(xml.disks?.disk ?? [])] } });
}

/** libvirt takes any file for an overlay; one that names another file as what it is based on would make another disk of it at the next start. */
async function requireOverlay(core: GuestCore, path: string, present: DiskSource, sizeBytes: number): Promise<void> {
  const refuse = (detail: string, cause?: unknown): never => {
    throw new DeviceAttachError("the overlay can't be put on the disk", { instance: core.instance, detail, cause });
  };
  const found = await readOverlay(path).catch((error: unknown) => {
    if (!isHyperviseError(error)) throw error;
    return refuse("the file can't be read as qcow2", error);
  });
  const { backing, backingFormat } = found;
  if (backing === undefined) return refuse("the file is not based on another");
  if (backingFormat !== present.format)
    return refuse("it does not say of which format the file is that it is based on");
  if (found.sizeBytes < sizeBytes) return refuse("it is smaller than the disk");
  if (isLocalSource(present) && !(await isSameFile(backing, present.path)))
    return refuse("it is not based on the disk's present file");
}

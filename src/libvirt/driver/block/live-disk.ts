/** A guest's disks as libvirt has them, and what they stand on. */
import { isDeepStrictEqual } from "node:util";
import { ConflictError, NotSupportedError } from "../../../core/index.js";
import { DiskNotFoundError } from "../../../storage/index.js";
import type { DiskSource } from "../../../storage/index.js";
import type { GuestDisk } from "../../../driver/index.js";
import type { LibvirtXml } from "../../xml/index.js";
import type { GuestCore } from "../guest-core.js";
import { findGuestDisk, readDomainOf } from "../hotplug/find-device.js";
import { planOnHost, planOptionsOf } from "../plan-on-host.js";
import { planSource } from "../plan/index.js";
import type { FoundDisk } from "../plan/index.js";
import { withSource } from "./alter-source.js";

/** A disk with a medium. */
export type LoadedDisk = GuestDisk & { readonly source: DiskSource };

/** A disk of the definition that something is kept in. @throws DiskNotFoundError */
export function requireLoaded({ definition, instance }: GuestCore, diskId: string): LoadedDisk {
  const disk = definition.disks.find(({ id }) => id === diskId);
  if (disk?.source === undefined)
    throw new DiskNotFoundError(`the guest has no disk ${diskId}`, { instance, device: diskId });
  return disk as LoadedDisk;
}

/** The disk in libvirt's domain; `configured`: what the guest starts with the next time. */
export async function findInDomain(
  core: GuestCore,
  diskId: string,
  where: "live" | "configured" = "live",
): Promise<FoundDisk | undefined> {
  return findGuestDisk(core, await readDomainOf(core, where), diskId);
}

/** @throws DiskNotFoundError when the guest in memory has no such disk, or nothing is in the drive */
export async function requireLive(core: GuestCore, diskId: string): Promise<FoundDisk> {
  requireLoaded(core, diskId);
  const found = await findInDomain(core, diskId);
  if (found?.source === undefined)
    throw new DiskNotFoundError(`the guest has no disk ${diskId}`, { instance: core.instance, device: diskId });
  return found;
}

/** Whether an element of libvirt's stands on a source: the same file, device or name on the same servers. */
export function standsOn(core: GuestCore, diskId: string, { xml }: FoundDisk, source: DiskSource): boolean {
  return isDeepStrictEqual(placeOf(xml.source), placeOf(planned(core, diskId, source)));
}

/**
 * @throws ConflictError for the source that the disk has; InvalidArgumentError, NotSupportedError for one that it can't have; NotSupportedError for
 * a disk that is not the guest's own to write to
 */
export function refuseUnfit(core: GuestCore, disk: LoadedDisk, source: DiskSource): void {
  const { host, instance, state } = core;
  // What others write would not be copied, and QEMU writes nothing through what it has open for reading.
  if (disk.readOnly || disk.shareable || disk.deviceType === "cdrom" || disk.deviceType === "floppy")
    throw new NotSupportedError({
      capability: "moving a disk that is read-only or shared",
      instance,
      device: disk.id,
    });
  if (isDeepStrictEqual(placeOf(planned(core, disk.id, disk.source)), placeOf(planned(core, disk.id, source))))
    throw new ConflictError(`disk ${disk.id} is there already`, { instance, device: disk.id });
  planOnHost(host, withSource(state, disk.id, source).definition, state);
}

/** Where a source is, without what belongs to how it is read. */
function placeOf(source: LibvirtXml.DomainSource | undefined): readonly unknown[] {
  if (source === undefined) return [];
  const { file, dev, protocol, name, host = [] } = source;
  const hosts = host.map(({ name: server, port, transport = "tcp", socket }) => [
    server,
    port === undefined ? undefined : String(port),
    transport,
    socket,
  ]);
  return [file, dev, protocol, name, hosts];
}

function planned({ host, state }: GuestCore, diskId: string, source: DiskSource): LibvirtXml.DomainSource {
  // The plan names the secrets of what the definition has.
  const { definition } = withSource(state, diskId, source);
  return planSource(source, planOptionsOf(host, definition, state), "source").source;
}

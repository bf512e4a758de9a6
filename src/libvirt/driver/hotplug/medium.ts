/** Changing what is in a CD or floppy drive. */
import { isDeepStrictEqual } from "node:util";
import { InvalidArgumentError, throwIfAborted } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { DeviceAttachError, DeviceDetachError, DiskNotFoundError } from "../../../driver/index.js";
import type { GuestDefinition, GuestDisk } from "../../../driver/index.js";
import { diskSourceCheck } from "../../../storage/index.js";
import type { DiskSource } from "../../../storage/index.js";
import { LibvirtError } from "../../rpc/index.js";
import { formatDeviceXml } from "../../xml/index.js";
import type { LibvirtXml } from "../../xml/index.js";
import { asDriverError } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { planOnHost, planOptionsOf } from "../plan-on-host.js";
import { planSource } from "../plan/index.js";
import { dropSecrets, provideSecrets, secretUsesOf } from "../secrets.js";
import { findGuestDisk, readDomainOf } from "./find-device.js";
import { applyLimits } from "./limits.js";
import { requireNotSaved } from "./require-state.js";

export interface ChangeMediumOptions extends CommonOptions {
  /** Also when the guest has locked the drive. */
  readonly force?: boolean;
}

/**
 * Puts a medium into a drive in place of the one that is there, or takes that out, durably. A guest that has locked its drive is asked to let go. `virDomainUpdateDeviceFlags`.
 * @throws DiskNotFoundError; InvalidArgumentError for a disk that is no drive; InvalidStateError while the guest's memory is on disk; DeviceDetachError when the guest does not
 * let go; DeviceAttachError; AbortedError. Then the drive has what it had
 */
export async function changeMedium(
  core: GuestCore,
  diskId: string,
  given: DiskSource | undefined,
  { force = false, signal }: ChangeMediumOptions,
): Promise<void> {
  const source = given === undefined ? undefined : diskSourceCheck(given, "source");
  const { host, instance } = core;
  const disk = requireDrive(core, diskId);
  requireNotSaved(core, "changeMedium");
  throwIfAborted(signal, "changing the medium");
  if (isDeepStrictEqual(disk.source, source)) return;
  const before = core.definition;
  const next = withSource(before, diskId, source);
  planOnHost(host, next, core.state);
  await core.update((state) => ({ ...state, definition: withSource(state.definition, diskId, source) }));
  try {
    await provideSecrets(host, instance.uuid, secretUsesOf([source]), { signal });
    throwIfAborted(signal, "changing the medium");
    await insert(core, disk, source, force);
  } catch (error) {
    await core.update((state) => ({ ...state, definition: withSource(state.definition, diskId, disk.source) }));
    await putBack(core, disk).catch(() => undefined);
    await dropSecrets(host, instance.uuid, unneeded(next, core.definition)).catch(() => undefined);
    throw explain(core, error, disk, source);
  }
  await dropSecrets(host, instance.uuid, unneeded(before, core.definition));
}

/** What failed may have been done. */
async function putBack(core: GuestCore, disk: GuestDisk): Promise<void> {
  const planned =
    disk.source === undefined
      ? undefined
      : planSource(disk.source, planOptionsOf(core.host, core.definition, core.state), "source");
  const { file, dev, name } = planned?.source ?? {};
  for (const where of core.inMemory ? (["live", "configured"] as const) : (["configured"] as const)) {
    const found = findGuestDisk(core, await readDomainOf(core, where), disk.id);
    if (found !== undefined && found.source !== (file ?? dev ?? name)) return insert(core, disk, disk.source, true);
  }
}

async function insert(core: GuestCore, disk: GuestDisk, source: DiskSource | undefined, force: boolean): Promise<void> {
  const { domain, host, instance } = core;
  const found = findGuestDisk(core, await readDomainOf(core, "configured"), disk.id);
  if (found === undefined)
    throw new DiskNotFoundError(`libvirt has no drive ${disk.id}`, { instance, device: disk.id });
  const xml = formatDeviceXml("disk", withMedium(core, found.xml, source));
  const flags = [
    ...(core.inMemory ? (["live"] as const) : []),
    "config" as const,
    ...(force ? (["force"] as const) : []),
  ];
  await domain.updateDeviceFlags(xml, { flags, deadlineMs: host.timeouts.callMs });
  const limits = disk.tuning?.limits;
  if (source !== undefined && limits !== undefined && core.inMemory) await applyLimits(core, disk.id, limits);
}

/** The drive as it is, with another medium: libvirt lets nothing else of a drive be changed. */
function withMedium(
  { host, definition, state }: GuestCore,
  drive: LibvirtXml.DomainDisk,
  source: DiskSource | undefined,
): LibvirtXml.DomainDisk {
  const { source: _source, backingStore: _backingStore, driver, ...rest } = drive;
  if (source === undefined) return { ...rest, ...(driver === undefined ? {} : { driver }), type: "file" };
  const placed = planSource(source, planOptionsOf(host, definition, state), "source");
  return { ...rest, driver: { ...driver, name: "qemu", type: source.format }, ...placed };
}

function requireDrive({ definition, instance }: GuestCore, diskId: string): GuestDisk {
  const disk = definition.disks.find(({ id }) => id === diskId);
  if (disk === undefined) throw new DiskNotFoundError(`the guest has no disk ${diskId}`, { instance, device: diskId });
  if (disk.deviceType === "disk")
    throw new InvalidArgumentError({ field: "diskId", value: diskId, expected: "a drive whose medium can be changed" });
  return disk;
}

function withSource(definition: GuestDefinition, diskId: string, source: DiskSource | undefined): GuestDefinition {
  return {
    ...definition,
    disks: definition.disks.map((disk) => {
      if (disk.id !== diskId) return disk;
      const { source: _, ...drive } = disk;
      return source === undefined ? drive : { ...drive, source };
    }),
  };
}

/** Secrets that one definition names and another does not. */
function unneeded(before: GuestDefinition, now: GuestDefinition): ReturnType<typeof secretUsesOf> {
  const needed = new Set(secretUsesOf(now.disks.map(({ source }) => source)).map(({ secretId }) => secretId));
  return secretUsesOf(before.disks.map(({ source }) => source)).filter(({ secretId }) => !needed.has(secretId));
}

function explain(
  { instance }: GuestCore,
  thrown: unknown,
  { id, source: old }: GuestDisk,
  source: DiskSource | undefined,
): Error {
  const error = asDriverError(thrown, { operation: "changeMedium", instance });
  if (!(error instanceof LibvirtError)) return error;
  const context = {
    instance,
    device: id,
    cause: error,
    ...(error.detail === undefined ? {} : { detail: error.detail }),
  };
  const locked = error.kind === "timeout" || error.kind === "other" || source === undefined;
  if (locked && old !== undefined)
    return new DeviceDetachError("the guest does not let go of the medium", {
      ...context,
      remedy: "Unmount the medium in the guest, or change it by force.",
    });
  return new DeviceAttachError("libvirt did not change the medium", context);
}

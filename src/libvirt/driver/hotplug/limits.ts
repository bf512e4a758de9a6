/** Limits on what a guest may do to its disks. */
import { throwIfAborted } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { DiskNotFoundError, diskLimitsCheck } from "../../../driver/index.js";
import type { DiskLimits, GuestDefinition, GuestDisk } from "../../../driver/index.js";
import type { TypedParameterInput } from "../../rpc/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { diskLimitsXml } from "../plan/index.js";
import { findGuestDisk, readDomainOf } from "./find-device.js";
import { requireNotSaved } from "./require-state.js";

/** What all limits are, so that those that are not said are none. */
const NONE = Object.fromEntries(
  ["bytes_sec", "iops_sec"].flatMap((kind) =>
    ["total", "read", "write"].flatMap((way) => [
      [`${way}_${kind}`, 0],
      [`${way}_${kind}_max`, 0],
      [`${way}_${kind}_max_length`, 0],
    ]),
  ),
) as Readonly<Record<string, number>>;

/**
 * Sets the limits of a disk in place of those that it has, durably. `virDomainSetBlockIoTune`.
 * @throws DiskNotFoundError, InvalidArgumentError, InvalidStateError while the guest's memory is on disk, LibvirtError. Then the old ones stand
 */
export async function limitDisk(
  core: GuestCore,
  diskId: string,
  given: DiskLimits,
  { signal }: CommonOptions,
): Promise<void> {
  const limits = diskLimitsCheck(given, "limits");
  const { instance } = core;
  const disk = core.definition.disks.find(({ id }) => id === diskId);
  if (disk === undefined) throw new DiskNotFoundError(`the guest has no disk ${diskId}`, { instance, device: diskId });
  requireNotSaved(core, "limitDisk");
  throwIfAborted(signal, "limiting the disk");
  // A definition that says too much is made good by the next call; a disk that has other limits than were recorded is not.
  await core.update((state) => ({ ...state, definition: withLimits(state.definition, diskId, limits) }));
  try {
    await asDriverErrors({ operation: "limitDisk", instance }, () => applyLimits(core, diskId, limits));
  } catch (error) {
    await core.update((state) => ({ ...state, definition: withDiskAsBefore(state.definition, disk) }));
    await applyLimits(core, diskId, disk.tuning?.limits ?? {}).catch(() => undefined);
    throw error;
  }
}

/** Tells libvirt the limits of a disk. A live drive without a medium gets them with the next one. @throws DiskNotFoundError, LibvirtError */
export async function applyLimits(core: GuestCore, diskId: string, limits: DiskLimits): Promise<void> {
  const { domain, host, instance } = core;
  const found = findGuestDisk(core, await readDomainOf(core, "live"), diskId);
  if (found === undefined) throw new DiskNotFoundError(`libvirt has no disk ${diskId}`, { instance, device: diskId });
  const flags = core.inMemory && found.source !== undefined ? (["live", "config"] as const) : (["config"] as const);
  const parameters = { ...NONE, ...diskLimitsXml(limits) } as TypedParameterInput;
  await domain.setBlockIoTune(found.target, parameters, { flags, deadlineMs: host.timeouts.callMs });
}

function withLimits(definition: GuestDefinition, diskId: string, limits: DiskLimits): GuestDefinition {
  return {
    ...definition,
    disks: definition.disks.map((disk) => (disk.id === diskId ? withDiskLimits(disk, limits) : disk)),
  };
}

/** A disk without limits is one that never had any. */
function withDiskLimits(
  { tuning: { limits: _before, ...tuning } = {}, ...disk }: GuestDisk,
  limits: DiskLimits,
): GuestDisk {
  const all = Object.keys(limits).length === 0 ? tuning : { ...tuning, limits };
  return Object.keys(all).length === 0 ? disk : { ...disk, tuning: all };
}

function withDiskAsBefore(definition: GuestDefinition, before: GuestDisk): GuestDefinition {
  return { ...definition, disks: definition.disks.map((disk) => (disk.id === before.id ? before : disk)) };
}

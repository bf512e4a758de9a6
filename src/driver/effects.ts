/** Every effect that an operation can have on its host, and how each is undone from its data alone. */
import { ConflictError, isHyperviseError } from "../core/index.js";
import type { EffectRecord, JsonObject, UndoTable } from "../core/index.js";
import type { FilteredInstance } from "../firewall/index.js";
import type { Vif } from "../network/index.js";
import type { DiskSource, VolumeConnection } from "../storage/index.js";
import type { GuestDefinition, GuestDisk, GuestNic } from "./guest-definition.js";
import { isInMemory, killGuest, pauseGuest, powerStateOf, resumeGuest, startGuest } from "./guest-actions.js";
import type { DetachOptions, DetachOutcome, Guest } from "./guest.js";
import { giveBackDevice, restoreLimits, restoreMedium, restoreMemorySize, restoreVcpus } from "./undo-hotplug.js";
import type { LimitsChange, MediumChange } from "./undo-hotplug.js";
import type { GuestDevice } from "./guest-hardware.js";
import type { HostContext } from "./host-context.js";
import { connectorOf } from "./volume-connectors.js";
import type { InstanceRecord } from "./instance-record.js";
import type { InstanceRef } from "./instance-spec.js";
import type { PowerState } from "./power-state.js";
import { DeviceDetachError } from "./errors.js";

/** What is kept of each kind of effect. Plain JSON data. */
export interface EffectData {
  /** The instance's record was written; `previous` is what stood there. */
  readonly record: { readonly uuid: string; readonly previous: InstanceRecord | null };
  /** A disk of the instance was made. */
  readonly disk: { readonly uuid: string; readonly name: string };
  /** A volume was connected to the host for the instance. */
  readonly volume: { readonly uuid: string; readonly connection: VolumeConnection };
  /** A port was plugged. */
  readonly vif: { readonly uuid: string; readonly vif: Vif };
  /** Filters were set up or changed; `previous` are the ports that were filtered before. */
  readonly filter: { readonly instance: InstanceRef; readonly previous: FilteredInstance | null };
  /** A guest was defined, and perhaps started. */
  readonly guest: { readonly uuid: string };
  /** A guest that was not in memory got another definition. */
  readonly definition: { readonly uuid: string; readonly previous: GuestDefinition };
  /** A guest's power state was changed from `state`. */
  readonly power: { readonly uuid: string; readonly state: PowerState };
  /** A guest got a disk. */
  readonly guestDisk: { readonly uuid: string; readonly diskId: string };
  /** A guest got a NIC. */
  readonly guestNic: { readonly uuid: string; readonly nicId: string };
  /** A guest was asked to let go of a disk, which it gets back. */
  readonly guestDiskDetach: { readonly uuid: string; readonly disk: GuestDisk };
  /** A guest was asked to let go of a NIC, which it gets back. */
  readonly guestNicDetach: { readonly uuid: string; readonly nic: GuestNic };
  /** A guest's disk was copied from one source to another, and the guest may have gone over to it. */
  readonly mirror: {
    readonly uuid: string;
    readonly diskId: string;
    readonly from: DiskSource;
    readonly to: DiskSource;
  };
  /** A volume was disconnected from the host. */
  readonly volumeDisconnected: { readonly uuid: string; readonly connection: VolumeConnection };
  /** Disks parked under a label were changed; undoing puts them back and parks them again. */
  readonly parkedDisksChanged: { readonly uuid: string; readonly label: string };
  /** An image of the instance was stored. */
  readonly image: { readonly imageId: string; readonly uuid: string };
  /** A file was made. */
  readonly temporaryFile: { readonly path: string };
  /** The instance's disks were parked under a label, and may have changed since. */
  readonly parkedDisks: { readonly uuid: string; readonly label: string };
  /** The guest's file systems were frozen. */
  readonly frozen: { readonly uuid: string };
  /** A guest was made to wait for a migration. */
  readonly incoming: { readonly uuid: string };
  /** A guest was told to migrate to another host. */
  readonly outgoing: { readonly uuid: string };
  /** A token was left on the storage. */
  readonly storageToken: { readonly token: string };
  /** A guest in memory was to get another number of vCPUs; it had `vcpus`. */
  readonly vcpus: { readonly uuid: string; readonly vcpus: number };
  /** A guest in memory was to get more or less memory; it had `memoryMiB`. */
  readonly memory: { readonly uuid: string; readonly memoryMiB: number };
  /** A guest got a device. */
  readonly guestDevice: { readonly uuid: string; readonly deviceId: string };
  /** A guest was asked to let go of a device, which it gets back. */
  readonly guestDeviceDetach: { readonly uuid: string; readonly device: GuestDevice };
  /** A guest's drive had `from` in it, and got something else. */
  readonly medium: MediumChange;
  /** A guest's disk had these limits, and got others. */
  readonly diskLimits: LimitsChange;
  /** A checkpoint was set. */
  readonly checkpoint: { readonly uuid: string; readonly name: string };
  /** A file or directory was made under a name that nobody else has. */
  readonly exportedFile: { readonly path: string };
  /** That file or directory was given its final name; `identity` tells it from what others may have put there. */
  readonly publishedFile: { readonly path: string; readonly identity: string };
}

export type EffectKind = keyof EffectData;

type Undos = { readonly [K in EffectKind]: (data: EffectData[K]) => Promise<void> };

/** An effect as the journal keeps it. */
export function effectRecord<K extends EffectKind>(kind: K, data: EffectData[K]): EffectRecord {
  return { kind, data: data as unknown as JsonObject };
}

/** The undo of each kind. All succeed when there is nothing left to undo. */
export function undoTable(contextOf: () => HostContext): UndoTable {
  const undos: Undos = {
    record: async ({ uuid, previous }) => {
      if (previous === null) await contextOf().records.delete(uuid);
      else await contextOf().records.put(previous);
    },
    disk: ({ uuid, name }) => contextOf().collaborators.disks.remove(uuid, name),
    volume: ({ uuid, connection }) => disconnectVolume(contextOf(), connection, uuid),
    vif: ({ uuid, vif }) => contextOf().collaborators.vifs.unplug(vif, uuid),
    filter: ({ instance, previous }) => restoreFilters(contextOf(), instance, previous),
    guest: ({ uuid }) => removeGuest(contextOf(), uuid),
    definition: async ({ previous }) => {
      await contextOf().hypervisor.redefine(previous);
    },
    power: ({ uuid, state }) => restorePower(contextOf(), uuid, state),
    guestDisk: ({ uuid, diskId }) => takeOut(contextOf(), uuid, "disk", diskId),
    guestNic: ({ uuid, nicId }) => takeOut(contextOf(), uuid, "nic", nicId),
    guestDiskDetach: ({ uuid, disk }) => giveBackDisk(contextOf(), uuid, disk),
    guestNicDetach: ({ uuid, nic }) => giveBackNic(contextOf(), uuid, nic),
    mirror: (data) => mirrorBack(contextOf(), data),
    volumeDisconnected: ({ uuid, connection }) => reconnectVolume(contextOf(), connection, uuid),
    parkedDisksChanged: async ({ uuid, label }) => {
      const { disks } = contextOf().collaborators;
      await disks.restore(uuid, label);
      await disks.park(uuid, label);
    },
    image: (data) => deleteImage(contextOf(), data),
    temporaryFile: ({ path }) => contextOf().collaborators.disks.removeTemporary(path),
    parkedDisks: ({ uuid, label }) => contextOf().collaborators.disks.restore(uuid, label),
    frozen: ({ uuid }) => thaw(contextOf(), uuid),
    incoming: async ({ uuid }) => {
      await contextOf().hypervisor.abortIncoming?.(uuid);
    },
    outgoing: async ({ uuid }) => {
      await (await contextOf().hypervisor.find(uuid))?.abortMigration?.();
    },
    storageToken: ({ token }) => contextOf().collaborators.disks.removeToken(token),
    vcpus: ({ uuid, vcpus }) => restoreVcpus(contextOf(), uuid, vcpus),
    memory: ({ uuid, memoryMiB }) => restoreMemorySize(contextOf(), uuid, memoryMiB),
    guestDevice: ({ uuid, deviceId }) => takeOut(contextOf(), uuid, "device", deviceId),
    guestDeviceDetach: ({ uuid, device }) => giveBackDevice(contextOf(), uuid, device),
    medium: (data) => restoreMedium(contextOf(), data),
    diskLimits: (data) => restoreLimits(contextOf(), data),
    checkpoint: async ({ uuid, name }) => {
      await (await contextOf().hypervisor.find(uuid))?.deleteCheckpoint?.(name);
    },
    exportedFile: ({ path }) => contextOf().files.remove(path),
    publishedFile: ({ path, identity }) => contextOf().files.remove(path, identity),
  };
  return undos as unknown as UndoTable;
}

/** Disconnects a volume from the host; calls for one volume never overlap. */
export function disconnectVolume(host: HostContext, connection: VolumeConnection, uuid: string): Promise<void> {
  return host.volumeLocks.run(connection.volumeId, () => connectorOf(host, connection).disconnect(connection, uuid));
}

async function reconnectVolume(host: HostContext, connection: VolumeConnection, uuid: string): Promise<void> {
  await host.volumeLocks.run(connection.volumeId, () => connectorOf(host, connection).connect(connection, uuid));
}

/** Somebody else may have stored an image under the id in the meantime: that one stays. */
async function deleteImage(host: HostContext, { imageId, uuid }: EffectData["image"]): Promise<void> {
  const { images } = host.collaborators;
  const stored = await images.describe(imageId).catch((error: unknown) => {
    if (isHyperviseError(error, "IMAGE_NOT_FOUND")) return undefined;
    throw error;
  });
  if (stored === undefined || stored.properties?.["instance_uuid"] === uuid) await images.delete(imageId);
}

/** A guest that has gone over and is no longer in memory has written to what would be taken away: that is for people to settle. */
async function mirrorBack(host: HostContext, { uuid, diskId, from, to }: EffectData["mirror"]): Promise<void> {
  const guest = await host.hypervisor.find(uuid);
  const disk = (await guest?.definition())?.disks.find(({ id }) => id === diskId);
  if (guest === undefined || disk === undefined || JSON.stringify(disk.source) !== JSON.stringify(to)) return;
  if (!isInMemory(await powerStateOf(guest)) || guest.mirrorDisk === undefined) {
    throw new ConflictError("the guest went over to the new volume and stopped before it could go back", {
      instance: { uuid, name: guest.name },
      device: diskId,
    });
  }
  await guest.mirrorDisk(diskId, from);
}

/** Takes a guest out of memory and forgets it; success when there is none. */
export async function removeGuest(host: HostContext, uuid: string): Promise<void> {
  const guest = await host.hypervisor.find(uuid);
  if (guest !== undefined) await killGuest(host, guest);
  await host.hypervisor.undefine(uuid);
}

async function restoreFilters(
  host: HostContext,
  instance: InstanceRef,
  previous: FilteredInstance | null,
): Promise<void> {
  const { firewall } = host.collaborators;
  if (previous === null) return firewall.unfilterInstance(instance);
  await firewall.setupBasicFiltering(previous);
  await firewall.prepareInstanceFilter(previous);
  await firewall.applyInstanceFilter(previous);
}

/** Brings a guest back to the power state that it was in. A guest that is gone stays so. */
async function restorePower(host: HostContext, uuid: string, state: PowerState): Promise<void> {
  const guest = await host.hypervisor.find(uuid);
  if (guest === undefined) return;
  const now = await powerStateOf(guest);
  if (isInMemory(now) && isInMemory(state)) await guest.suspend?.discard();
  if (now === state) return;
  switch (state) {
    case "running":
      if (now === "paused") return resumeGuest(host, guest);
      return now === "suspended" && guest.suspend !== undefined ? guest.suspend.restore() : startGuest(host, guest);
    case "paused":
      return now === "running" ? pauseGuest(host, guest) : startGuest(host, guest, undefined, { paused: true });
    case "suspended":
      if (isInMemory(now)) await guest.suspend?.save();
      return;
    case "shutdown":
    case "crashed":
      return killGuest(host, guest);
    case "nostate":
      return;
  }
}

async function takeOut(host: HostContext, uuid: string, what: "disk" | "nic" | "device", id: string): Promise<void> {
  const guest = await host.hypervisor.find(uuid);
  if (guest === undefined) return;
  const outcome = await detachOf(guest, what)(id, { timeoutMs: host.timeouts.detachMs });
  if (outcome !== "detached" && outcome !== "absent") {
    throw new DeviceDetachError("the guest keeps a device that was taken back", {
      instance: { uuid, name: guest.name },
      device: id,
    });
  }
}

function detachOf(
  guest: Guest,
  what: "disk" | "nic" | "device",
): (id: string, options: DetachOptions) => Promise<DetachOutcome> {
  if (what === "disk") return (id, options) => guest.detachDisk(id, options);
  if (what === "nic") return (id, options) => guest.detachNic(id, options);
  return async (id, options) => (await guest.detachDevice?.(id, options)) ?? "absent";
}

async function giveBackDisk(host: HostContext, uuid: string, disk: GuestDisk): Promise<void> {
  const guest = await host.hypervisor.find(uuid);
  if (guest === undefined || (await guest.definition()).disks.some(({ id }) => id === disk.id)) return;
  await guest.attachDisk(disk);
}

async function giveBackNic(host: HostContext, uuid: string, nic: GuestNic): Promise<void> {
  const guest = await host.hypervisor.find(uuid);
  if (guest === undefined || (await guest.definition()).nics.some(({ id }) => id === nic.id)) return;
  await guest.attachNic(nic);
}

async function thaw(host: HostContext, uuid: string): Promise<void> {
  const guest = await host.hypervisor.find(uuid);
  if (guest?.agent === undefined || !isInMemory(await powerStateOf(guest))) return;
  await guest.agent.thaw();
}

/** Giving a guest a device, in its configuration and, when it is in memory, at once. */
import { ConflictError, NotSupportedError, RollbackStack, throwIfAborted } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import type { GuestDefinition, GuestDevice, GuestDisk, GuestNic } from "../../../driver/index.js";
import { DeviceDetachError, guestDeviceCheck } from "../../../driver/index.js";
import { guestDiskCheck, guestNicCheck } from "../../../hypervisor/index.js";
import { LibvirtError } from "../../rpc/index.js";
import { formatDeviceXml } from "../../xml/index.js";
import type { DomainXml } from "../../xml/index.js";
import type { GuestCore } from "../guest-core.js";
import { runsQemu } from "../host.js";
import { planOnHost } from "../plan-on-host.js";
import { needsSharedMemory, takesPciPlace } from "../plan/index.js";
import { dropSecrets, provideSecrets, secretUsesOf } from "../secrets.js";
import { writeMetadata } from "../write-metadata.js";
import { hasDevice, isTagged, withDevice, withDisk, withNic, withPhase, withoutDevice } from "./alter-definition.js";
import type { DeviceRef } from "./alter-definition.js";
import { asAttachError } from "./attach-error.js";
import { detachDevice } from "./detach.js";
import { planElement, readDomainOf } from "./find-device.js";
import { secretsOfAlone } from "./let-go.js";
import { placeScsiDisk } from "./scsi-place.js";
import { requireNotSaved } from "./require-state.js";

/** Buses that take disks while the guest runs. */
const HOTPLUG_BUSES: ReadonlySet<GuestDisk["bus"]> = new Set<GuestDisk["bus"]>(["virtio", "scsi", "usb"]);

/**
 * Gives a guest a disk. `virDomainAttachDeviceFlags`.
 * @throws ConflictError, NoFreeSlotError, NotSupportedError, InvalidArgumentError, InvalidStateError while the guest's memory is on disk, DeviceAttachError,
 * HypervisorUnavailableError, AbortedError. Then the guest has nothing of it; where that can't be seen to at once, it is when the daemon answers again
 */
export async function attachDisk(core: GuestCore, given: GuestDisk, options: CommonOptions): Promise<void> {
  const disk = guestDiskCheck(given, "disk");
  const { definition, instance } = core;
  const device: DeviceRef = { kind: "disk", id: disk.id };
  requireNew(core, device);
  if (definition.disks.some(({ deviceName }) => deviceName === disk.deviceName))
    throw new ConflictError(`the guest has a disk ${disk.deviceName}`, { instance, device: disk.id });
  if (core.inMemory && !HOTPLUG_BUSES.has(disk.bus))
    throw new NotSupportedError({
      capability: `hot plug of ${disk.bus} disks`,
      message: `a guest that runs is given no disks on ${disk.bus}`,
      instance,
    });
  await core.host.directIo.learn([disk.source]);
  await attach(core, device, (current) => withDisk(current, disk), { ...options, usesPci: disk.bus === "virtio" });
}

/** Gives a guest a NIC; see {@link attachDisk}. */
export async function attachNic(core: GuestCore, given: GuestNic, options: CommonOptions): Promise<void> {
  const nic = guestNicCheck(given, "nic");
  const device: DeviceRef = { kind: "nic", id: nic.id };
  requireNew(core, device);
  if (core.inMemory && nic.backend.type === "vhostUser" && !needsSharedMemory(core.definition))
    throw new NotSupportedError({
      capability: "hot plug of NICs on switches in user space",
      message: "other processes can't read the memory that the guest was started with",
      instance: core.instance,
    });
  await attach(core, device, (current) => withNic(current, nic), { ...options, usesPci: true });
}

/** Gives a guest a device of the user's or the host's; see {@link attachDisk}. */
export async function attachDevice(core: GuestCore, given: GuestDevice, options: CommonOptions): Promise<void> {
  const checked = guestDeviceCheck(given, "device");
  const device: DeviceRef = { kind: "device", id: checked.id };
  requireNew(core, device);
  const usesPci = takesPciPlace(checked);
  await attach(core, device, (current) => withDevice(current, checked), { ...options, usesPci });
}

interface AttachOptions extends CommonOptions {
  /** It takes a place on the guest's PCI bus. */
  readonly usesPci: boolean;
}

async function attach(
  core: GuestCore,
  device: DeviceRef,
  add: (definition: GuestDefinition) => GuestDefinition,
  { signal, usesPci }: AttachOptions,
): Promise<void> {
  const { host, instance } = core;
  requireNotSaved(core, "attach");
  throwIfAborted(signal, "giving the guest a device");
  const planned = planOnHost(host, add(core.definition), core.state);
  await core.devices.whileAttaching(device, async () => {
    // The record comes first: whoever finds it after a crash takes out what libvirt may have been given.
    await core.update((state) => withPhase({ ...state, definition: add(state.definition) }, device, "attaching"));
    const undo = new RollbackStack();
    try {
      await host.mediated.claim(core);
      const disk = device.kind === "disk" ? core.definition.disks.find(({ id }) => id === device.id) : undefined;
      await provideSecrets(host, instance.uuid, secretUsesOf([disk?.source]), { signal });
      await addScsiController(core, disk, planned, undo);
      const xml = await placeScsiDisk(core, disk, planElement(core, core.definition, device) ?? "");
      throwIfAborted(signal, "giving the guest a device");
      if (isTagged(core.definition, device)) {
        undo.defer("the device's tag", () => writeMetadata(core, withoutDevice(core.definition, device)));
        await writeMetadata(core, core.definition);
      }
      undo.defer("the device", () => takeBack(core, device));
      await give(core, xml);
    } catch (error) {
      const failure = await asAttachError(core, device, error, usesPci && runsQemu(host));
      const undone = await undo.unwind();
      if (undone.length === 0) await forget(core, device);
      throw failure;
    }
    await core.update((state) => withPhase(state, device, undefined));
  });
}

/** Once libvirt has been asked, nobody's signal cuts this off: what has left can't be taken back, and whoever wants it undone detaches. */
async function give({ domain, host, inMemory }: GuestCore, xml: string): Promise<void> {
  await domain.attachDeviceFlags(xml, {
    flags: inMemory ? ["config", "live"] : ["config"],
    deadlineMs: host.timeouts.callMs,
  });
}

/** Also where libvirt says that it failed: it may have come halfway. What can't be taken back now stays marked, for the next look at the guest. */
async function takeBack(core: GuestCore, device: DeviceRef): Promise<void> {
  core.unannounced.add(device.id);
  try {
    const outcome = await detachDevice(core, device, { timeoutMs: core.host.timeouts.letGoMs });
    if (outcome === "refused" || outcome === "pending") throw new DeviceDetachError("the guest does not let go of it");
  } finally {
    core.unannounced.delete(device.id);
  }
}

async function forget(core: GuestCore, device: DeviceRef): Promise<void> {
  if (!hasDevice(core.definition, device)) return;
  await dropSecrets(core.host, core.instance.uuid, secretsOfAlone(core, device)).catch(() => undefined);
  await core.update((state) =>
    withPhase({ ...state, definition: withoutDevice(state.definition, device) }, device, undefined),
  );
  await core.host.mediated.release(core);
}

/** A guest that was started without SCSI disks has nothing that they could hang on, and libvirt's own choice is an old one. */
async function addScsiController(
  core: GuestCore,
  disk: GuestDisk | undefined,
  planned: DomainXml,
  undo: RollbackStack,
): Promise<void> {
  const { host, domain } = core;
  if (disk?.bus !== "scsi" || !runsQemu(host)) return;
  const { devices } = await readDomainOf(core, "live");
  if (devices?.controller?.some(({ type, index }) => type === "scsi" && index === 0) === true) return;
  const controller = planned.devices?.controller?.find(({ type }) => type === "scsi");
  if (controller === undefined) return;
  const xml = formatDeviceXml("controller", controller);
  const limits = { deadlineMs: host.timeouts.callMs };
  const flags = core.inMemory ? (["config", "live"] as const) : (["config"] as const);
  undo.defer("the controller", async () => {
    for (const flag of flags)
      await domain.detachDeviceFlags(xml, { flags: [flag], ...limits }).catch((error: unknown) => {
        if (!(error instanceof LibvirtError)) throw error;
      });
  });
  try {
    await domain.attachDeviceFlags(xml, { flags, ...limits });
  } catch (error) {
    throw await asAttachError(core, { kind: "disk", id: disk.id }, error, true);
  }
}

function requireNew({ definition, instance }: GuestCore, device: DeviceRef): void {
  if (hasDevice(definition, device))
    throw new ConflictError(`the guest has a ${device.kind} ${device.id} already`, { instance, device: device.id });
}

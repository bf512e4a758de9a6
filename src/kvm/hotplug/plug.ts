/** Giving devices to a guest, in memory or not: back end, then device, then the guest has it; undone from where it failed. */
import { closeSync, constants, openSync } from "node:fs";
import {
  ConflictError,
  InvalidArgumentError,
  NotSupportedError,
  throwIfAborted,
  withRollback,
} from "../../core/index.js";
import type { CommonOptions, JsonObject, RollbackStack } from "../../core/index.js";
import { DeviceAttachError } from "../../driver/index.js";
import type { GuestDevice, GuestDisk, GuestNic } from "../../driver/index.js";
import { HostIoError, openMacvtap } from "../../host/index.js";
import { QmpCommandError } from "../../qmp/index.js";
import type { QmpArguments } from "../../qmp/index.js";
import { diskPurpose, grantDisk, revokePurpose } from "../access/grant-access.js";
import type { GuestCore } from "../guest-core.js";
import { VHOST_DEVICE } from "../launch.js";
import { applyDiskLimits } from "../block/limits.js";
import { openable } from "../block/direct-io.js";
import { openDisk } from "../block/nodes.js";
import { isLoaded } from "../plan/block-nodes.js";
import { diskDevice, netBackend, nicBackend, nicDevice, nicSocket, queuesOf, scsiController } from "../plan/devices.js";
import { memoryOf } from "../plan/memory-slots.js";
import type { NicConnection } from "../plan/devices.js";
import { guestDevice, usbController } from "../plan/guest-devices.js";
import {
  SCSI_CONTROLLER,
  USB_CONTROLLER,
  bindDevice,
  bindDisk,
  bindNic,
  bindUsbController,
  bindingOf,
  planHardware,
  poolOfDevice,
  withPhase,
} from "../plan/hardware.js";
import type { DeviceBinding, Hardware, NicPlace } from "../plan/hardware.js";
import { withBootIndex } from "../plan/command-line.js";
import { TOPOLOGIES } from "../plan/topology.js";
import type { SlotPool } from "../plan/topology.js";
import type { GuestSession } from "../session.js";
import type { GuestState } from "../state/guest-state.js";
import { withoutDevice } from "../state/state-changes.js";
import { removeBackend, removeSocket } from "./unplug.js";

/**
 * Gives a guest a disk.
 * @throws ConflictError, NoFreeSlotError, NotSupportedError (the bus takes none while the guest runs), DeviceAttachError. Then nothing of it is left.
 */
export async function plugDisk(core: GuestCore, disk: GuestDisk, options: CommonOptions): Promise<void> {
  const { disks } = core.definition;
  if (disks.some(({ id }) => id === disk.id)) throw conflict(core, disk.id, `the guest has a disk ${disk.id}`);
  if (disks.some(({ deviceName }) => deviceName === disk.deviceName))
    throw conflict(core, disk.id, `the guest has a disk ${disk.deviceName}`);
  const withDisk = (state: GuestState): GuestState => ({
    ...state,
    definition: { ...state.definition, disks: [...state.definition.disks, disk] },
  });
  const { session } = core;
  if (session === undefined) return addCold(core, withDisk);
  const pool = TOPOLOGIES[core.state.hardware.machine].disks[disk.bus];
  requireHotplug(core, pool, `hot plug of ${disk.bus} disks`);
  const purpose = diskPurpose(disk.id);
  const needsUsb = pool === "usb" && !(await hasDevice(session, USB_CONTROLLER));
  await plug(
    core,
    session,
    withDisk,
    (hardware) => bindDisk(needsUsb ? bindUsbController(hardware) : hardware, disk),
    options,
    async (binding, undo) => {
      if (pool === "scsi") await plugController(core, session, SCSI_CONTROLLER, scsiController);
      if (pool === "usb") await plugController(core, session, USB_CONTROLLER, usbController);
      undo.defer("access to the disk", () => revokePurpose(core, purpose));
      if (disk.source !== undefined) await grantDisk(core, disk.source, isReadOnly(disk), purpose);
      const fit = isLoaded(disk) ? await openable(disk) : disk;
      if (isLoaded(fit)) await openDisk(core, session, binding.handle, fit);
      undo.defer("block nodes", () => removeBackend(session, binding));
      throwIfAborted(options.signal);
      return diskDevice(binding, withBootIndex(fit, disks.length, core.definition), core.state.hardware);
    },
  );
  if (disk.tuning?.limits !== undefined) await applyDiskLimits(core, session, disk, {});
}

/** Gives a guest a NIC, in the place of one that has gone where that is said; see {@link plugDisk}. */
export async function plugNic(core: GuestCore, nic: GuestNic, options: CommonOptions, place?: NicPlace): Promise<void> {
  if (core.definition.nics.some(({ id }) => id === nic.id))
    throw conflict(core, nic.id, `the guest has a NIC ${nic.id}`);
  const withNic = (state: GuestState): GuestState => ({
    ...state,
    definition: { ...state.definition, nics: [...state.definition.nics, nic] },
  });
  const { session } = core;
  if (session === undefined) return addCold(core, withNic);
  requireHotplug(core, TOPOLOGIES[core.state.hardware.machine].expansion, "hot plug of NICs");
  await plug(
    core,
    session,
    withNic,
    (hardware) => bindNic(hardware, nic.id, place),
    options,
    async (binding, undo) => {
      await addNetBackend(core, session, binding.handle, nic);
      undo.defer("network back end", () => removeBackend(session, binding, nic));
      throwIfAborted(options.signal);
      return nicDevice(binding, nic, core.state.hardware);
    },
  );
}

/** Gives a guest a device of the user's or the host's; see {@link plugDisk}. */
export async function plugDevice(core: GuestCore, device: GuestDevice, options: CommonOptions): Promise<void> {
  const devices = core.definition.hardware?.devices ?? [];
  if (devices.some(({ id }) => id === device.id))
    throw conflict(core, device.id, `the guest has a device ${device.id}`);
  const withIt = (state: GuestState): GuestState => ({
    ...state,
    definition: { ...state.definition, hardware: { ...state.definition.hardware, devices: [...devices, device] } },
  });
  const { session } = core;
  if (session === undefined) return addCold(core, withIt);
  const pool = poolOfDevice(device, TOPOLOGIES[core.state.hardware.machine]);
  requireHotplug(core, pool, `hot plug of ${device.type} devices`);
  const needsUsb = pool === "usb" && !(await hasDevice(session, USB_CONTROLLER));
  await plug(
    core,
    session,
    withIt,
    (hardware) => bindDevice(needsUsb ? bindUsbController(hardware) : hardware, device),
    options,
    async (binding) => {
      if (pool === "usb") await plugController(core, session, USB_CONTROLLER, usbController);
      return guestDevice(binding, device, core.state.hardware);
    },
  );
}

/** The guest is not in memory: it gets the device when it starts. That there will be a slot is made sure of now. */
export async function addCold(core: GuestCore, add: (state: GuestState) => GuestState): Promise<void> {
  await core.update((state) => {
    const next = add(state);
    const { machine, machineType } = state.hardware;
    return {
      ...next,
      hardware: planHardware(
        next.definition,
        machine,
        { machineType, hotplugPorts: core.host.hotplugPorts },
        state.hardware,
      ),
    };
  });
}

/**
 * Plugs what `bind` binds last: its record, what `addBackend` puts under it, then the device.
 * @throws DeviceAttachError, NoFreeSlotError, AbortedError. Then nothing of it is left.
 */
export async function plug(
  core: GuestCore,
  session: GuestSession,
  add: (state: GuestState) => GuestState,
  bind: (hardware: Hardware) => Hardware,
  { signal }: CommonOptions,
  addBackend: (binding: DeviceBinding, undo: RollbackStack) => Promise<JsonObject>,
): Promise<void> {
  throwIfAborted(signal);
  const planned = bind(core.state.hardware).bindings.at(-1) as DeviceBinding;
  const { handle, id } = planned;
  core.plugging.add(handle);
  try {
    await withRollback(async (undo) => {
      undo.defer("record of the device", () => core.update((state) => withoutDevice(state, planned)));
      // The record comes first: whoever finds it after a crash looks in QEMU how far the plugging came.
      await core.update((state) => add({ ...state, hardware: withPhase(bind(state.hardware), handle, "attaching") }));
      const device = await addBackend(planned, undo);
      await addDevice(session, device, undo);
      await core.update((state) => ({ ...state, hardware: withPhase(state.hardware, handle, undefined) }));
    });
  } catch (error) {
    throw asAttachError(core, id, error);
  } finally {
    core.plugging.delete(handle);
  }
}

/**
 * Once QEMU has been asked there is no way back but unplugging, so that nobody's signal cuts this off. Unless QEMU refuses, it may have the device
 * now or soon: its record and what it stands on are then kept, for whoever detaches it and for the next reconciliation.
 */
async function addDevice(session: GuestSession, device: JsonObject, undo: RollbackStack): Promise<void> {
  try {
    await session.execute("device_add", device as unknown as QmpArguments<"device_add">);
  } catch (error) {
    if (!(error instanceof QmpCommandError) && !session.process.over) undo.commit();
    throw error;
  }
  undo.commit();
}

/** Plugs a controller that has a slot of its own, if QEMU does not have it yet. */
async function plugController(
  core: GuestCore,
  session: GuestSession,
  id: string,
  plan: (binding: DeviceBinding, hardware: Hardware) => JsonObject,
): Promise<void> {
  const binding = bindingOf(core.state.hardware, "controller", id);
  if (binding === undefined || (await hasDevice(session, id))) return;
  await session.execute("device_add", plan(binding, core.state.hardware) as unknown as QmpArguments<"device_add">);
}

async function hasDevice(session: GuestSession, id: string): Promise<boolean> {
  const present = await session.execute("qom-list", { path: "/machine/peripheral" });
  return present.some(({ name }) => name === id);
}

function isReadOnly({ readOnly, deviceType }: GuestDisk): boolean {
  return readOnly || deviceType === "cdrom";
}

async function addNetBackend(core: GuestCore, session: GuestSession, handle: string, nic: GuestNic): Promise<void> {
  const opened: number[] = [];
  try {
    const connection = await connect(core, session, handle, nic, opened);
    await session.execute("netdev_add", netBackend(handle, connection) as unknown as QmpArguments<"netdev_add">);
  } catch (error) {
    await closeNamed(session, handle, nic);
    throw error;
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

/** Hands QEMU the NIC's descriptors under names that `netdev_add` uses up. */
async function connect(
  core: GuestCore,
  session: GuestSession,
  handle: string,
  nic: GuestNic,
  opened: number[],
): Promise<NicConnection> {
  const { backend } = nic;
  const { hotplugNetwork, openTap } = core.host;
  if (backend.type === "user")
    return backend.cidr === undefined ? { type: "user" } : { type: "user", cidr: backend.cidr };
  const queues = queuesOf(nic);
  if (backend.type === "vhostUser") return connectSwitch(core, session, handle, backend);
  if (hotplugNetwork.taps === "name" && backend.type === "macvtap")
    throw new NotSupportedError({ capability: "hot plug of NICs on macvtap devices without descriptor passing" });
  if (hotplugNetwork.taps === "name") return { type: "name", deviceName: backend.deviceName, queues };
  const { deviceName } = backend;
  opened.push(...(backend.type === "macvtap" ? openMacvtap(deviceName) : openTap(deviceName, queues)));
  const taps = [...opened];
  const vhost = hotplugNetwork.vhost && nic.model === "virtio" ? taps.map(() => openVhost(opened)) : [];
  return {
    type: "descriptors",
    tap: await name(session, fdNames(handle, "tap", queues), taps),
    vhost: await name(session, fdNames(handle, "vhost", queues), vhost),
  };
}

/** The switch maps the guest's memory, which the guest has booted with. */
async function connectSwitch(
  core: GuestCore,
  session: GuestSession,
  handle: string,
  backend: Extract<GuestNic["backend"], { readonly type: "vhostUser" }>,
): Promise<NicConnection> {
  if (memoryOf(core.definition).shared !== true) {
    throw new NotSupportedError({
      capability: "a switch in user space for a guest whose memory is not shared",
      remedy: "Start the guest with hardware.memory.shared, or with such a NIC.",
    });
  }
  const isServer = backend.server === "hypervisor";
  const addr = { type: "unix" as const, data: { path: backend.socketPath } };
  await session.execute("chardev-add", {
    id: nicSocket(handle),
    backend: { type: "socket", data: { addr, server: isServer, ...(isServer ? { wait: false } : {}) } },
  });
  return backend;
}

async function name(session: GuestSession, names: readonly string[], fds: readonly number[]): Promise<string[]> {
  const given: string[] = [];
  for (const [index, fd] of fds.entries()) {
    const fdname = names[index] as string;
    await session.execute("getfd", { fdname }, { fds: [fd] });
    given.push(fdname);
  }
  return given;
}

/** Names that `netdev_add` did not use up would keep the TAP open. */
async function closeNamed(session: GuestSession, handle: string, nic: GuestNic): Promise<void> {
  if (nic.backend.type === "vhostUser") return removeSocket(session, handle);
  if (nic.backend.type === "user") return;
  const queues = queuesOf(nic);
  for (const fdname of [...fdNames(handle, "tap", queues), ...fdNames(handle, "vhost", queues)]) {
    await session.execute("closefd", { fdname }).catch(() => undefined);
  }
}

function fdNames(handle: string, what: "tap" | "vhost", queues: number): string[] {
  return Array.from({ length: queues }, (_, queue) => `${nicBackend(handle)}-${what}${queue}`);
}

function openVhost(opened: number[]): number {
  try {
    const fd = openSync(VHOST_DEVICE, constants.O_RDWR);
    opened.push(fd);
    return fd;
  } catch (error) {
    throw new HostIoError({ operation: "opening vhost", path: VHOST_DEVICE, cause: error });
  }
}

export function requireHotplug(core: GuestCore, pool: SlotPool | undefined, capability: string): void {
  const { machine } = core.state.hardware;
  if (pool === undefined || !TOPOLOGIES[machine].hotplug.has(pool))
    throw new NotSupportedError({
      capability,
      message: `${capability} is not possible on this ${machine} machine`,
      instance: core.instance,
    });
}

function conflict(core: GuestCore, device: string, message: string): ConflictError {
  return new ConflictError(message, { instance: core.instance, device });
}

function asAttachError(core: GuestCore, id: string, error: unknown): unknown {
  if (error instanceof InvalidArgumentError || !(error instanceof QmpCommandError)) return error;
  const attachError = new DeviceAttachError("QEMU refuses the device", {
    instance: core.instance,
    device: id,
    cause: error,
    detail: error.desc,
  });
  attachError.attachUndoErrors(error.undoErrors);
  return attachError;
}

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
import type { GuestDisk, GuestNic } from "../../driver/index.js";
import { HostIoError } from "../../host/index.js";
import { QmpCommandError } from "../../qmp/index.js";
import type { QmpArguments } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import { VHOST_DEVICE } from "../launch.js";
import {
  blockNodes,
  diskDevice,
  netBackend,
  nicBackend,
  nicDevice,
  queuesOf,
  scsiController,
} from "../plan/devices.js";
import type { NicConnection } from "../plan/devices.js";
import { SCSI_CONTROLLER, bindDisk, bindNic, bindingOf, planHardware, withPhase } from "../plan/hardware.js";
import type { DeviceBinding, Hardware } from "../plan/hardware.js";
import { withBootIndex } from "../plan/command-line.js";
import { TOPOLOGIES } from "../plan/topology.js";
import type { SlotPool } from "../plan/topology.js";
import type { GuestSession } from "../session.js";
import type { GuestState } from "../state/guest-state.js";
import { withoutDevice } from "../state/state-changes.js";
import { removeBackend } from "./unplug.js";

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
  await plug(
    core,
    session,
    "disk",
    disk.id,
    withDisk,
    (hardware) => bindDisk(hardware, disk),
    options,
    async (binding, undo) => {
      if (pool === "scsi") await plugScsiController(core, session);
      await session.execute(
        "blockdev-add",
        blockNodes(binding.handle, disk) as unknown as QmpArguments<"blockdev-add">,
      );
      undo.defer("block nodes", () => removeBackend(session, binding));
      throwIfAborted(options.signal);
      return diskDevice(binding, withBootIndex(disk, disks.length, core.definition), core.state.hardware);
    },
  );
}

/** Gives a guest a NIC; see {@link plugDisk}. */
export async function plugNic(core: GuestCore, nic: GuestNic, options: CommonOptions): Promise<void> {
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
    "nic",
    nic.id,
    withNic,
    (hardware) => bindNic(hardware, nic.id),
    options,
    async (binding, undo) => {
      await addNetBackend(core, session, binding.handle, nic);
      undo.defer("network back end", () => removeBackend(session, binding));
      throwIfAborted(options.signal);
      return nicDevice(binding, nic, core.state.hardware);
    },
  );
}

/** The guest is not in memory: it gets the device when it starts. That there will be a slot is made sure of now. */
async function addCold(core: GuestCore, add: (state: GuestState) => GuestState): Promise<void> {
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

async function plug(
  core: GuestCore,
  session: GuestSession,
  kind: "disk" | "nic",
  id: string,
  add: (state: GuestState) => GuestState,
  bind: (hardware: Hardware) => Hardware,
  { signal }: CommonOptions,
  addBackend: (binding: DeviceBinding, undo: RollbackStack) => Promise<JsonObject>,
): Promise<void> {
  throwIfAborted(signal);
  const planned = bindingOf(bind(core.state.hardware), kind, id) as DeviceBinding;
  const { handle } = planned;
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

async function plugScsiController(core: GuestCore, session: GuestSession): Promise<void> {
  const binding = bindingOf(core.state.hardware, "controller", SCSI_CONTROLLER);
  if (binding === undefined) return;
  const present = await session.execute("qom-list", { path: "/machine/peripheral" });
  if (present.some(({ name }) => name === SCSI_CONTROLLER)) return;
  await session.execute(
    "device_add",
    scsiController(binding, core.state.hardware) as unknown as QmpArguments<"device_add">,
  );
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
  if (hotplugNetwork.taps === "name") return { type: "name", deviceName: backend.deviceName, queues };
  opened.push(...openTap(backend.deviceName, queues));
  const taps = [...opened];
  const vhost = hotplugNetwork.vhost && nic.model === "virtio" ? taps.map(() => openVhost(opened)) : [];
  return {
    type: "descriptors",
    tap: await name(session, fdNames(handle, "tap", queues), taps),
    vhost: await name(session, fdNames(handle, "vhost", queues), vhost),
  };
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
  if (nic.backend.type !== "tap") return;
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

function requireHotplug(core: GuestCore, pool: SlotPool | undefined, capability: string): void {
  const { machine, bindings } = core.state.hardware;
  const topology = TOPOLOGIES[machine];
  const ready =
    pool !== undefined &&
    topology.hotplug.has(pool) &&
    (pool !== "usb" || bindings.some((binding) => binding.pool === "usb"));
  if (!ready)
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

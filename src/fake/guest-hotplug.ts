/** Devices that a simulated guest gets and gives back, while it runs or not. */
import { ConflictError, NotSupportedError } from "../core/index.js";
import type { TimerHandle } from "../core/index.js";
import { DeviceAttachError, InvalidStateError, NoFreeSlotError } from "../driver/index.js";
import type {
  DetachOptions,
  DetachOutcome,
  GuestDevice,
  GuestDisk,
  GuestNic,
  HypervisorFeature,
} from "../driver/index.js";
import { DEFAULT_DEVICE_SLOTS, DEFAULT_DISK_SLOTS, DEFAULT_NIC_SLOTS } from "./check-definition.js";
import { diskObstacle, lockDisk, nicObstacle } from "./guest-devices.js";
import { askToRelease, dropDevice, notify, setDevices } from "./guest-power.js";
import { inMemory } from "./guest-record.js";
import type { GuestRecord } from "./guest-record.js";
import type { FakeHost } from "./host.js";
import type { FakeProcess, Halfway } from "./process.js";

/** Buses whose controllers let a disk come and go while the guest runs. */
const HOTPLUG_BUSES: readonly string[] = ["virtio", "scsi", "usb"];

export async function attachDisk(
  host: FakeHost,
  record: GuestRecord,
  disk: GuestDisk,
  features: ReadonlySet<HypervisorFeature>,
  halfway: Halfway,
): Promise<void> {
  refuseSuspended(record, "attachDisk");
  const { disks } = record.definition;
  if (disks.some((other) => other.id === disk.id || other.deviceName === disk.deviceName)) {
    throw new ConflictError("The guest has a disk of this id or device name", {
      instance: record.definition,
      device: disk.id,
    });
  }
  if (disks.length >= (host.options.slots?.disks ?? DEFAULT_DISK_SLOTS)) throw noSlot(record, disk.id);
  if (inMemory(record)) {
    if (!features.has("hotplugDisk")) throw new NotSupportedError({ capability: "hotplugDisk" });
    if (!HOTPLUG_BUSES.includes(disk.bus))
      throw refused(record, disk.id, `the bus ${disk.bus} takes no disk while the guest runs`);
    const obstacle = diskObstacle(host, record.definition.uuid, disk);
    if (obstacle !== undefined) throw refused(record, disk.id, obstacle);
  }
  record.definition = { ...record.definition, disks: [...disks, disk] };
  await halfway();
  if (inMemory(record)) lockDisk(host, record.definition.uuid, disk);
  notify(record);
}

export async function attachNic(
  host: FakeHost,
  record: GuestRecord,
  nic: GuestNic,
  features: ReadonlySet<HypervisorFeature>,
  halfway: Halfway,
): Promise<void> {
  refuseSuspended(record, "attachNic");
  const { nics } = record.definition;
  if (nics.some((other) => other.id === nic.id || other.macAddress === nic.macAddress)) {
    throw new ConflictError("The guest has a NIC of this id or MAC address", {
      instance: record.definition,
      device: nic.id,
    });
  }
  if (nics.length >= (host.options.slots?.nics ?? DEFAULT_NIC_SLOTS)) throw noSlot(record, nic.id);
  if (inMemory(record)) {
    if (!features.has("hotplugNic")) throw new NotSupportedError({ capability: "hotplugNic" });
    const obstacle = nicObstacle(host, nic);
    if (obstacle !== undefined) throw refused(record, nic.id, obstacle);
  }
  record.definition = { ...record.definition, nics: [...nics, nic] };
  await halfway();
  notify(record);
}

export async function attachDevice(
  host: FakeHost,
  record: GuestRecord,
  device: GuestDevice,
  halfway: Halfway,
): Promise<void> {
  refuseSuspended(record, "attachDevice");
  const { devices = [] } = record.definition.hardware ?? {};
  if (devices.some((other) => other.id === device.id))
    throw new ConflictError("The guest has a device of this id", { instance: record.definition, device: device.id });
  if (devices.length >= (host.options.slots?.devices ?? DEFAULT_DEVICE_SLOTS)) throw noSlot(record, device.id);
  setDevices(record, [...devices, device]);
  await halfway();
  notify(record);
}

/** Takes a device out, once the guest has let go of it, and waits for that no longer than `timeoutMs`. */
export async function detachDevice(
  process: FakeProcess,
  record: GuestRecord,
  device: "disk" | "nic" | "device",
  id: string,
  options: DetachOptions,
): Promise<DetachOutcome> {
  const { disks, nics, hardware } = record.definition;
  const all: { readonly [K in typeof device]: readonly { readonly id: string }[] } = {
    disk: disks,
    nic: nics,
    device: hardware?.devices ?? [],
  };
  if (!all[device].some((one) => one.id === id)) return "absent";
  refuseSuspended(record, `detach a ${device}`);
  const key = `${device}:${id}`;
  if (!inMemory(record)) {
    dropDevice(process.host, record, key);
    return "detached";
  }
  const waiters = (record.detaching ??= new Map<string, Set<(outcome: DetachOutcome) => void>>());
  const answers = waiters.get(key) ?? new Set();
  waiters.set(key, answers);
  let answer: (outcome: DetachOutcome) => void = () => undefined;
  let timer: TimerHandle | undefined;
  const outcome = new Promise<DetachOutcome>((resolve) => {
    answer = resolve;
    timer = process.clock.setTimeout(() => resolve("pending"), options.timeoutMs);
  });
  answers.add(answer);
  askToRelease(process.host, record, device, id);
  try {
    return await process.wait(outcome, options.signal);
  } finally {
    timer?.cancel();
    answers.delete(answer);
    if (answers.size === 0 && waiters.get(key) === answers) waiters.delete(key);
  }
}

function refuseSuspended(record: GuestRecord, operation: string): void {
  if (record.state !== "suspended") return;
  const expected = ["running", "paused", "shutdown", "crashed"];
  throw new InvalidStateError({ operation, state: record.state, expected, instance: record.definition });
}

function noSlot(record: GuestRecord, device: string): Error {
  return new NoFreeSlotError("The guest's machine has no slot left", { instance: record.definition, device });
}

function refused(record: GuestRecord, device: string, detail: string): Error {
  return new DeviceAttachError("The guest could not be given the device", {
    instance: record.definition,
    device,
    detail,
  });
}

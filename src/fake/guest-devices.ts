/** What a guest has from its host while it is in memory: disks that nobody else writes to, ports, memory and vCPUs. */
import { NoCapacityError, GuestStartError } from "../driver/index.js";
import type { GuestDefinition, GuestDisk, GuestNic } from "../driver/index.js";
import type { FakeHost } from "./host.js";

/** Why a disk can't be opened, in the hypervisor's words; undefined when it can. */
export function diskObstacle(host: FakeHost, uuid: string, disk: GuestDisk): string | undefined {
  if (disk.source === undefined) return undefined;
  const file = host.resolve(disk.source);
  if (file === undefined) return `${disk.id}: no such file or device`;
  if (file === "foreign") return undefined;
  if (!file.complete) return `${disk.id}: the file is not a whole disk`;
  const holder = locks(disk) ? host.world.locks.holder(file.path) : undefined;
  return holder === undefined || holder === holderName(host, uuid)
    ? undefined
    : `${disk.id}: another guest writes to the disk`;
}

/** Why a NIC can't be connected; undefined when it can. */
export function nicObstacle(host: FakeHost, nic: GuestNic): string | undefined {
  if (nic.backend.type !== "tap" || host.foreign.ports) return undefined;
  const portId = host.portByDevice.get(nic.backend.deviceName);
  const port = portId === undefined ? undefined : host.ports.get(portId);
  return port?.bridged === true ? undefined : `${nic.id}: there is no interface ${nic.backend.deviceName} on a bridge`;
}

export function lockDisk(host: FakeHost, uuid: string, disk: GuestDisk): void {
  const file = host.resolve(disk.source);
  if (typeof file === "object" && locks(disk)) host.world.locks.take(file.path, holderName(host, uuid));
}

export function unlockDisk(host: FakeHost, uuid: string, disk: GuestDisk): void {
  const file = host.resolve(disk.source);
  if (typeof file === "object") host.world.locks.release(file.path, holderName(host, uuid));
}

/** @throws NoCapacityError when the host has not the memory or the vCPUs left. */
export function claimResources(host: FakeHost, definition: GuestDefinition): void {
  const { memoryMiB, vcpus } = definition;
  const claimed = host.claimed;
  if (claimed.memoryMiB + memoryMiB > host.guestMemoryMiB) {
    throw new NoCapacityError(`The host has not ${memoryMiB} MiB of memory left`);
  }
  if (claimed.vcpus + vcpus > host.guestVcpus) throw new NoCapacityError(`The host has not ${vcpus} vCPUs left`);
  claimed.memoryMiB += memoryMiB;
  claimed.vcpus += vcpus;
  claimed.guests++;
}

export function releaseResources(host: FakeHost, definition: GuestDefinition): void {
  host.claimed.memoryMiB -= definition.memoryMiB;
  host.claimed.vcpus -= definition.vcpus;
  host.claimed.guests--;
}

/** @throws GuestStartError that names the first device that is not there. */
export function checkDevices(host: FakeHost, definition: GuestDefinition): void {
  for (const disk of definition.disks) refuse(definition, disk.id, diskObstacle(host, definition.uuid, disk));
  for (const nic of definition.nics) refuse(definition, nic.id, nicObstacle(host, nic));
}

function refuse(instance: GuestDefinition, device: string, detail: string | undefined): void {
  if (detail !== undefined) throw new GuestStartError("The guest could not be started", { instance, device, detail });
}

/** While it migrates a guest is on two hosts, and only one of the two writes. */
export function holderName(host: FakeHost, uuid: string): string {
  return `${uuid}@${host.name}`;
}

function locks(disk: GuestDisk): boolean {
  return !disk.shareable && !disk.readOnly;
}

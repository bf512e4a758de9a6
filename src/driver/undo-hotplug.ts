/** Taking back what was changed in a guest's machine while it ran. All succeed when there is nothing to take back. */
import { isHyperviseError } from "../core/index.js";
import type { DiskLimits } from "./disk-tuning.js";
import type { DiskSource } from "../storage/index.js";
import type { Guest } from "./guest.js";
import type { GuestDevice } from "./guest-hardware.js";
import type { HostContext } from "./host-context.js";
import { sameJson } from "./same-json.js";
import { withMemory, withVcpus } from "./resized-flavor.js";

/** A guest's drive had `from` in it. */
export interface MediumChange {
  readonly uuid: string;
  readonly diskId: string;
  readonly from: DiskSource | null;
}

/** A guest's disk had these limits. */
export interface LimitsChange {
  readonly uuid: string;
  readonly diskId: string;
  readonly limits: DiskLimits;
}

/** A guest that does not let go keeps what it was given; the record says what it has, as the hypervisor does. */
export async function restoreVcpus(host: HostContext, uuid: string, vcpus: number): Promise<void> {
  const guest = await host.hypervisor.find(uuid);
  if (guest === undefined) return;
  if ((await guest.definition()).vcpus !== vcpus) await unlessKept(async () => guest.setVcpus?.(vcpus));
  await follow(host, guest);
}

/** As `restoreVcpus`. */
export async function restoreMemorySize(host: HostContext, uuid: string, memoryMiB: number): Promise<void> {
  const guest = await host.hypervisor.find(uuid);
  if (guest === undefined) return;
  if ((await guest.definition()).memoryMiB !== memoryMiB) await unlessKept(async () => guest.setMemory?.(memoryMiB));
  await follow(host, guest);
}

async function unlessKept(ask: () => Promise<void>): Promise<void> {
  try {
    await ask();
  } catch (error) {
    // Some hypervisors can give a running guest more, but take nothing back.
    if (!isHyperviseError(error, "DEVICE_DETACH_FAILED") && !isHyperviseError(error, "NOT_SUPPORTED")) throw error;
  }
}

async function follow(host: HostContext, guest: Guest): Promise<void> {
  const record = host.records.get(guest.uuid);
  if (record === undefined) return;
  const { vcpus, memoryMiB } = await guest.definition();
  const followed = withMemory(withVcpus(record, vcpus), memoryMiB);
  if (followed !== record) await host.records.put(followed);
}

export async function giveBackDevice(host: HostContext, uuid: string, device: GuestDevice): Promise<void> {
  const guest = await host.hypervisor.find(uuid);
  if (guest === undefined) return;
  const { devices = [] } = (await guest.definition()).hardware ?? {};
  if (!devices.some(({ id }) => id === device.id)) await guest.attachDevice?.(device);
}

export async function restoreMedium(host: HostContext, { uuid, diskId, from }: MediumChange): Promise<void> {
  const guest = await host.hypervisor.find(uuid);
  const disk = (await guest?.definition())?.disks.find(({ id }) => id === diskId);
  if (guest === undefined || disk === undefined || sameJson(disk.source ?? null, from)) return;
  await guest.changeMedium?.(diskId, from ?? undefined, { force: true });
}

export async function restoreLimits(host: HostContext, { uuid, diskId, limits }: LimitsChange): Promise<void> {
  const guest = await host.hypervisor.find(uuid);
  const disk = (await guest?.definition())?.disks.find(({ id }) => id === diskId);
  if (guest === undefined || disk === undefined || sameJson(disk.tuning?.limits ?? {}, limits)) return;
  await guest.limitDisk?.(diskId, limits);
}

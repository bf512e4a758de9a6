/** `rescue` and `unrescue`: boot from another disk, with the instance's own beside it, and back. */
import { Secret } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import { bootGuest, createDisk, fetchImage, writeRecord } from "../operation-steps.js";
import { isInMemory, requireGuest, requireState } from "../guest-actions.js";
import { createConfigDrive, inject, requireInjection } from "../config-drive-steps.js";
import type { GivenInjection } from "../config-drive-steps.js";
import { isConfigDisk, RESCUE_CONFIG_DISK } from "../plan-config-drive.js";
import { imageIdCheck, passwordCheck } from "../validate-instance-spec.js";
import type { HostContext } from "../host-context.js";
import type { InstanceDisk, InstanceRecord } from "../instance-record.js";
import type { InstanceRef } from "../instance-spec.js";
import { InstanceNotRescuableError } from "../errors.js";
import { nextDeviceName } from "../device-names.js";
import { RESCUE_DISK } from "../guest-definition-of.js";
import type { Operation } from "../operation.js";
import { redefineGuest } from "../redefine-guest.js";
import { requireNoTask } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import { stopGuest } from "../stop-guest.js";

export type RescueOptions = OperationOptions & { readonly imageId?: string; readonly adminPassword?: string | Secret };

export async function rescue(host: HostContext, instance: InstanceRef, options: RescueOptions = {}): Promise<void> {
  host.lifecycle.assertReady();
  const wanted = options.imageId === undefined ? undefined : imageIdCheck(options.imageId, "options.imageId");
  const password =
    options.adminPassword === undefined
      ? undefined
      : Secret.of(passwordCheck(options.adminPassword, "options.adminPassword"));
  const given = { adminPassword: password };
  const { spawnMs, imageFetchMs, shutdownGraceMs } = host.timeouts;
  const request = { kind: "rescue", instance, options, timeoutMs: spawnMs + imageFetchMs + shutdownGraceMs };
  return runOperation(host, request, async (operation) => {
    const record = host.records.require(instance.uuid);
    requireNoTask(record, "rescue");
    requireInjection(host, record.spec, given);
    const guest = await requireGuest(host, instance.uuid, operation.signal);
    const state = await requireState(guest, "rescue", ["running", "paused", "shutdown", "crashed"], operation.signal);
    const imageId = wanted ?? record.spec.imageId;
    if (imageId === undefined || !record.disks.some(({ name }) => name === "root")) {
      throw new InstanceNotRescuableError("the instance boots from a volume, or there is no image to rescue it with", {
        instance,
      });
    }
    const rescued = await makeRescueRecord(operation, record, imageId, isInMemory(state), given);
    await stopGuest(operation, guest, host.timeouts.shutdownGraceMs);
    const redefined = await redefineGuest(operation, guest, rescued);
    await writeRecord(operation, rescued);
    await inject(operation, redefined, record.spec, given);
    await bootGuest(operation, redefined);
  });
}

/** The rescue disk boots; the instance's own keep their places, and none of them boots. In the place of its config drive is one of the rescue's. */
async function makeRescueRecord(
  operation: Operation,
  record: InstanceRecord,
  imageId: string,
  wasRunning: boolean,
  given: GivenInjection,
): Promise<InstanceRecord> {
  const image = await fetchImage(operation, imageId);
  const taken = new Set([...record.disks, ...record.volumes].map(({ deviceName }) => deviceName));
  const place = {
    name: RESCUE_DISK,
    sizeBytes: image.virtualSizeBytes,
    deviceName: nextDeviceName("virtio", taken),
    bus: "virtio",
  } as const;
  const disk = await createDisk(operation, { ...place, bootIndex: 0 }, image);
  const own: InstanceDisk[] = [];
  for (const { bootIndex: _bootIndex, ...rest } of record.disks)
    own.push(isConfigDisk(rest) ? await makeRescueDrive(operation, record, rest, given) : rest);
  const volumes = record.volumes.map(({ bootIndex: _bootIndex, ...rest }) => rest);
  const rescue = { disks: record.disks, volumes: record.volumes, wasRunning };
  const { emptyDrives } = record;
  if (emptyDrives === undefined) return { ...record, disks: [disk, ...own], volumes, rescue };
  const drives = emptyDrives.map(({ bootIndex: _bootIndex, ...rest }) => rest);
  return { ...record, disks: [disk, ...own], volumes, emptyDrives: drives, rescue: { ...rescue, emptyDrives } };
}

function makeRescueDrive(
  operation: Operation,
  record: InstanceRecord,
  { bus, deviceName, deviceType = "disk" }: InstanceDisk,
  given: GivenInjection,
): Promise<InstanceDisk> {
  const place = { name: RESCUE_CONFIG_DISK, bus, deviceName, deviceType, readOnly: true } as const;
  const vifs = record.vifs.map(({ vif }) => vif);
  return createConfigDrive(operation, place, { ...record, vifs }, given);
}

export function unrescue(host: HostContext, instance: InstanceRef, options?: OperationOptions): Promise<void> {
  const { spawnMs, shutdownGraceMs } = host.timeouts;
  return runOperation(
    host,
    { kind: "unrescue", instance, options, timeoutMs: spawnMs + shutdownGraceMs },
    async (operation) => {
      const record = host.records.require(instance.uuid);
      if (record.rescue === undefined) return;
      const guest = await requireGuest(host, instance.uuid, operation.signal);
      const own = ownRecord(record, record.rescue);
      await stopGuest(operation, guest, host.timeouts.shutdownGraceMs);
      const redefined = await redefineGuest(operation, guest, own);
      await writeRecord(operation, own);
      if (record.rescue.wasRunning) await bootGuest(operation, redefined);
      await operation.passPointOfNoReturn();
      await finishUnrescue(host, instance.uuid);
    },
  );
}

/** Removes what nobody needs any more. Repeatable. */
export async function finishUnrescue(host: HostContext, uuid: string): Promise<void> {
  for (const name of [RESCUE_DISK, RESCUE_CONFIG_DISK]) await host.collaborators.disks.remove(uuid, name);
}

/** The record as it was before the rescue. */
function ownRecord(
  { rescue: _rescue, ...record }: InstanceRecord,
  { wasRunning: _wasRunning, ...own }: NonNullable<InstanceRecord["rescue"]>,
): InstanceRecord {
  return { ...record, ...own };
}

/** `setDiskLimits`. */
import { check, NotSupportedError } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import { admit } from "../admission.js";
import { diskLimitsCheck } from "../validate-disk-tuning.js";
import type { DiskLimits } from "../disk-tuning.js";
import { DiskNotFoundError } from "../errors.js";
import { guestDefinitionOf, withLimits } from "../guest-definition-of.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRecord } from "../instance-record.js";
import type { InstanceRef } from "../instance-spec.js";
import { limited, requireGuest, requireState } from "../guest-actions.js";
import { requireNoTask } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import { sameJson } from "../same-json.js";
import { writeRecord } from "../operation-steps.js";

export const diskIdCheck = check.string({ max: 160, charset: "name" });

export async function setDiskLimits(
  host: HostContext,
  given: InstanceRef,
  diskId: string,
  givenLimits: DiskLimits,
  options?: OperationOptions,
): Promise<void> {
  const instance = admit(host, given);
  const { uuid } = instance;
  diskIdCheck(diskId, "diskId");
  const limits = diskLimitsCheck(givenLimits, "limits");
  const { attachMs } = host.timeouts;
  return runOperation(host, { kind: "setDiskLimits", instance, options, timeoutMs: attachMs }, async (operation) => {
    const { signal } = operation;
    const record = host.records.require(uuid);
    requireNoTask(record, "setDiskLimits");
    const disk = guestDefinitionOf(record).disks.find(({ id }) => id === diskId);
    if (disk === undefined)
      throw new DiskNotFoundError(`the instance has no disk ${diskId}`, { instance, device: diskId });
    const previous = disk.tuning?.limits ?? {};
    if (sameJson(previous, limits)) return;
    const guest = await requireGuest(host, uuid, signal);
    await requireState(guest, "setDiskLimits", ["running", "paused", "shutdown", "crashed"], signal);
    await operation.effect("diskLimits", { uuid, diskId, limits: previous }, () =>
      limited(host, attachMs, "limiting the disk", signal, async (limit) => {
        if (guest.limitDisk === undefined) throw new NotSupportedError({ capability: "diskLimits" });
        await guest.limitDisk(diskId, limits, { signal: limit });
      }),
    );
    await writeRecord(operation, withDiskLimits(record, diskId, limits));
  });
}

/** The record with other limits of one disk; those of a volume or a drive stand in the spec, too. */
function withDiskLimits(record: InstanceRecord, diskId: string, limits: DiskLimits): InstanceRecord {
  const { volumes, emptyDrives = [], spec } = record;
  const device = [...volumes, ...emptyDrives].find((one) => one.diskId === diskId);
  if (device === undefined) {
    return { ...record, disks: record.disks.map((disk) => (disk.name === diskId ? { ...disk, limits } : disk)) };
  }
  const volumeId = volumes.find((one) => one === device)?.connection.volumeId;
  const tuned = <D extends { readonly tuning?: DiskTuningOf }>(one: D): D => ({
    ...one,
    tuning: withLimits(one.tuning, limits),
  });
  return {
    ...record,
    volumes: volumes.map((one) => (one === device ? tuned(one) : one)),
    ...(emptyDrives.length === 0 ? {} : { emptyDrives: emptyDrives.map((one) => (one === device ? tuned(one) : one)) }),
    spec: {
      ...spec,
      blockDevices: (spec.blockDevices ?? []).map((one) =>
        one.connection?.volumeId === volumeId && (volumeId !== undefined || one.deviceName === device.deviceName)
          ? tuned(one)
          : one,
      ),
    },
  };
}

type DiskTuningOf = NonNullable<InstanceRecord["spec"]["diskTuning"]>;

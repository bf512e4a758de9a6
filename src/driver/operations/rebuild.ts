/** `rebuild`: the instance anew from an image, its identity, ports and volumes kept. */
import { Secret } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import { bootGuest, createDisk, fetchImage, writeRecord } from "../operation-steps.js";
import { checkImageFits } from "../image-fit.js";
import type { HostContext } from "../host-context.js";
import { createConfigDrive, inject, requireInjection } from "../config-drive-steps.js";
import type { GivenInjection } from "../config-drive-steps.js";
import { guestFormatOf } from "../plan-spawn.js";
import { injectedFilesCheck } from "../validate-config-drive.js";
import { isConfigDisk } from "../plan-config-drive.js";
import { imageIdCheck, passwordCheck } from "../validate-instance-spec.js";
import type { InstanceDisk, InstanceRecord } from "../instance-record.js";
import type { InjectedFile, InstanceRef } from "../instance-spec.js";
import { InvalidStateError } from "../errors.js";
import { isInMemory, requireGuest, requireState } from "../guest-actions.js";
import type { LocalImage } from "../../storage/index.js";
import type { Operation } from "../operation.js";
import { redefineGuest } from "../redefine-guest.js";
import { requireNoTask } from "../task-state.js";
import { runOperation } from "../run-operation.js";
import { stopGuest } from "../stop-guest.js";

const PARKED = "rebuild";

export type RebuildOptions = OperationOptions & {
  readonly preserveEphemeral?: boolean;
  readonly adminPassword?: string | Secret;
  readonly injectedFiles?: readonly InjectedFile[];
};

export async function rebuild(
  host: HostContext,
  instance: InstanceRef,
  imageId: string,
  options: RebuildOptions = {},
): Promise<void> {
  host.lifecycle.assertReady();
  imageIdCheck(imageId, "imageId");
  const password =
    options.adminPassword === undefined
      ? undefined
      : Secret.of(passwordCheck(options.adminPassword, "options.adminPassword"));
  const files =
    options.injectedFiles === undefined
      ? undefined
      : injectedFilesCheck(options.injectedFiles, "options.injectedFiles");
  const given = { adminPassword: password, files };
  const { spawnMs, imageFetchMs, shutdownGraceMs } = host.timeouts;
  const request = { kind: "rebuild", instance, options, timeoutMs: spawnMs + imageFetchMs + shutdownGraceMs };
  return runOperation(host, request, async (operation) => {
    const { uuid } = instance;
    const record = host.records.require(uuid);
    requireNoTask(record, "rebuild");
    requireInjection(host, record.spec, given);
    if (!record.disks.some(({ name }) => name === "root")) {
      throw new InvalidStateError({
        operation: "rebuild",
        state: "booted from a volume",
        expected: ["a root disk of its own"],
        instance,
      });
    }
    const guest = await requireGuest(host, uuid, operation.signal);
    const state = await requireState(guest, "rebuild", ["running", "paused", "shutdown", "crashed"], operation.signal);
    const image = await fetchImage(operation, imageId);
    checkImageFits(
      { ...(await host.collaborators.images.describe(imageId, { signal: operation.signal })), ...image },
      record.spec.flavor,
    );

    await stopGuest(operation, guest, host.timeouts.shutdownGraceMs);
    await operation.effect("parkedDisks", { uuid, label: PARKED }, () => host.collaborators.disks.park(uuid, PARKED));
    const renewed = { ...record, spec: { ...record.spec, imageId } };
    const disks = await remakeDisks(operation, renewed, image, options.preserveEphemeral === true, given);
    const rebuilt = { ...renewed, disks };
    const redefined = await redefineGuest(operation, guest, rebuilt);
    await writeRecord(operation, rebuilt);
    await inject(operation, redefined, record.spec, given);
    if (isInMemory(state)) await bootGuest(operation, redefined);
    await operation.passPointOfNoReturn();
    await finishRebuild(host, uuid);
  });
}

/** Drops the old disks. Repeatable. */
export function finishRebuild(host: HostContext, uuid: string): Promise<void> {
  return host.collaborators.disks.discardParked(uuid, PARKED);
}

/** New content at the old places; the old content is parked, and comes back when the operation fails. */
async function remakeDisks(
  operation: Operation,
  record: InstanceRecord,
  image: LocalImage,
  keepOthers: boolean,
  given: GivenInjection,
): Promise<readonly InstanceDisk[]> {
  const { disks } = operation.host.collaborators;
  const made: InstanceDisk[] = [];
  for (const { source, ...disk } of record.disks) {
    const isRoot = disk.name === "root";
    if (isConfigDisk(disk)) {
      made.push(await remakeConfigDrive(operation, record, disk, given));
      continue;
    }
    if (!isRoot && keepOthers) {
      made.push({ source, ...disk });
      continue;
    }
    operation.throwIfAborted();
    await disks.remove(record.uuid, disk.name);
    const sizeBytes = isRoot
      ? Math.max(record.spec.flavor.rootGiB * 1_073_741_824, image.virtualSizeBytes)
      : disk.sizeBytes;
    const formatted = isRoot ? {} : guestFormatOf(disk.name, record.spec);
    made.push(await createDisk(operation, { ...disk, ...formatted, sizeBytes }, isRoot ? image : undefined));
  }
  return made;
}

function remakeConfigDrive(
  operation: Operation,
  record: InstanceRecord,
  { name, bus, deviceName, deviceType = "disk" }: Omit<InstanceDisk, "source">,
  given: GivenInjection,
): Promise<InstanceDisk> {
  const vifs = record.vifs.map(({ vif }) => vif);
  return createConfigDrive(
    operation,
    { name, bus, deviceName, deviceType, readOnly: true },
    { ...record, vifs },
    given,
  );
}

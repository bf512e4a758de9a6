/** `snapshot`: an image of the root disk. */
import { check, ConflictError, isHyperviseError, NotSupportedError } from "../../core/index.js";
import type { OperationHandle } from "../../core/index.js";
import { announced, isInMemory, powerStateOf, requireGuest, startGuest } from "../guest-actions.js";
import { changePower, transferProgress } from "../operation-steps.js";
import { checkInstance } from "../operation-options.js";
import { DiskNotFoundError, InvalidStateError } from "../errors.js";
import { snapshotMetadata } from "../../storage/index.js";
import type { DiskSourceFormat, ImageMetadata } from "../../storage/index.js";
import type { Guest } from "../guest.js";
import type { HostContext } from "../host-context.js";
import { imageIdCheck } from "../validate-instance-spec.js";
import type { InstanceRef } from "../instance-spec.js";
import type { Operation } from "../operation.js";
import type { PowerState } from "../power-state.js";
import { requireNotMigrating } from "../task-state.js";
import { restoreMemory, saveMemory } from "./suspend.js";
import type { SnapshotOptions } from "../facets/snapshots.js";
import { startOperation } from "../operation-handle.js";
import { stopGuest } from "../stop-guest.js";
import { quiesceCheck, whileFrozen } from "../freeze.js";
import type { Quiesce } from "../freeze.js";

const ROOT = "root";
const optionsCheck = {
  name: check.optional(check.string({ max: 255 })),
  format: check.oneOf(["raw", "qcow2"]),
  mode: check.oneOf(["auto", "live", "cold"]),
  quiesce: quiesceCheck,
  properties: check.record(check.string({ max: 255 }), check.string({ min: 0, max: 1024 }), { max: 128 }),
};

interface SnapshotRequest {
  readonly imageId: string;
  readonly name: string | undefined;
  readonly format: DiskSourceFormat;
  readonly mode: "auto" | "live" | "cold";
  readonly quiesce: Quiesce;
  readonly properties: Readonly<Record<string, string>>;
}

export function snapshot(
  host: HostContext,
  given: InstanceRef,
  imageId: string,
  options: SnapshotOptions = {},
): OperationHandle<ImageMetadata> {
  const instance = checkInstance(given);
  const wanted: SnapshotRequest = {
    imageId: imageIdCheck(imageId, "imageId"),
    name: options.name === undefined ? undefined : check.string({ max: 255 })(options.name, "options.name"),
    format: optionsCheck.format(options.format ?? "qcow2", "options.format"),
    mode: optionsCheck.mode(options.mode ?? "auto", "options.mode"),
    quiesce: optionsCheck.quiesce(options.quiesce ?? "auto", "options.quiesce"),
    properties: optionsCheck.properties(options.properties ?? {}, "options.properties"),
  };
  const timeoutMs = 2 * host.timeouts.diskCopyMs + host.timeouts.suspendMs;
  const request = { kind: "snapshot", instance, options, timeoutMs, params: { imageId } };
  return startOperation(host, `snapshot ${instance.uuid} ${imageId}`, request, (operation) =>
    takeSnapshot(operation, wanted),
  );
}

async function takeSnapshot(operation: Operation, request: SnapshotRequest): Promise<ImageMetadata> {
  const { host, instance, signal } = operation;
  const { images, disks } = host.collaborators;
  const record = host.records.require(instance.uuid);
  requireNotMigrating(record, "snapshot");
  const root = record.disks.find(({ name }) => name === ROOT);
  if (root === undefined)
    throw new DiskNotFoundError("the instance has no root disk of its own; it boots from a volume", {
      instance,
      device: ROOT,
    });
  await refuseTakenId(operation, request.imageId);
  const guest = await requireGuest(host, instance.uuid, signal);
  const state = await powerStateOf(guest, signal);

  const path = await disks.temporaryPath(`snapshot-${request.imageId}`);
  await operation.effect("temporaryFile", { path }, async () => {
    if (isLive(operation, request, state)) await copyLive(operation, guest, path, request);
    else await copyCold(operation, guest, state, path, request.format);
  });
  const { imageId: baseImageId, kernel } = record.spec;
  const metadata = snapshotMetadata({
    id: request.imageId,
    name: request.name,
    format: request.format,
    virtualSizeBytes: await sizeOfRoot(operation, root.sizeBytes),
    instanceUuid: instance.uuid,
    baseImageId,
    base: baseImageId === undefined ? undefined : await describeIfThere(operation, baseImageId),
    kernel,
    properties: request.properties,
  });
  operation.progress("upload");
  const stored = await operation.effect("image", { imageId: request.imageId, uuid: instance.uuid }, () =>
    images.upload(metadata, path, { signal, onProgress: transferProgress(operation, "upload") }),
  );
  await disks.removeTemporary(path);
  return stored;
}

/** @throws ConflictError when there is a finished image of the id: a failing snapshot must not delete it. */
async function refuseTakenId(operation: Operation, imageId: string): Promise<void> {
  if ((await describeIfThere(operation, imageId)) === undefined) return;
  throw new ConflictError(`image ${imageId} is there already`, { remedy: "Give the snapshot another image id." });
}

function isLive({ host, instance }: Operation, { mode }: SnapshotRequest, state: PowerState): boolean {
  const able = host.lifecycle.capabilities.flags.liveSnapshot;
  if (mode === "live" && !able) throw new NotSupportedError({ capability: "liveSnapshot" });
  if (mode === "live" && !isInMemory(state)) {
    throw new InvalidStateError({
      operation: "snapshot with mode live",
      state,
      expected: ["running", "paused"],
      instance,
    });
  }
  return mode !== "cold" && able && isInMemory(state);
}

async function copyLive(
  operation: Operation,
  guest: Guest,
  path: string,
  { format, quiesce }: SnapshotRequest,
): Promise<void> {
  await whileFrozen(operation, guest, quiesce, async (onPointInTime) => {
    operation.progress("copy");
    if (guest.copyDisk === undefined) throw new NotSupportedError({ capability: "liveSnapshot" });
    await guest.copyDisk(ROOT, path, format, { signal: operation.signal, onPointInTime });
  });
}

/** The guest is suspended, or shut down where it can't be, while its disk is read; afterwards it is as before. */
async function copyCold(
  operation: Operation,
  guest: Guest,
  state: PowerState,
  path: string,
  format: DiskSourceFormat,
): Promise<void> {
  const { host, instance, signal } = operation;
  const saves = isInMemory(state) && guest.suspend !== undefined;
  if (saves) await saveMemory(operation, guest);
  else await stopGuest(operation, guest, host.timeouts.shutdownGraceMs);
  operation.progress("copy");
  await host.collaborators.disks.exportDisk(instance.uuid, ROOT, path, format, {
    signal,
    onProgress: transferProgress(operation, "copy"),
  });
  if (!isInMemory(state)) return;
  if (saves) await restoreMemory(operation, guest);
  else await changePower(operation, guest, () => startGuest(host, guest, signal));
  if (state === "paused")
    await changePower(operation, guest, () => announced(host, guest, "paused", () => guest.pause({ signal })));
}

/** A back end may have given the disk more than it was asked for. */
async function sizeOfRoot({ host, instance }: Operation, asked: number): Promise<number> {
  const disks = await host.collaborators.disks.list(instance.uuid);
  return disks.find(({ name }) => name === ROOT)?.virtualSizeBytes ?? asked;
}

/** The image that the disk was made from may have been deleted since. */
async function describeIfThere({ host, signal }: Operation, imageId: string): Promise<ImageMetadata | undefined> {
  try {
    return await host.collaborators.images.describe(imageId, { signal });
  } catch (error) {
    if (isHyperviseError(error, "IMAGE_NOT_FOUND")) return undefined;
    throw error;
  }
}

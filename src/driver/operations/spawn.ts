/** `spawn`: from a spec to a running guest, or to nothing at all. */
import { isHyperviseError } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import {
  applyFilters,
  connectVolume,
  createDisk,
  fetchImage,
  plugVif,
  prepareFilters,
  writeRecord,
} from "../operation-steps.js";
import { bootWhenConnected } from "../boot-when-connected.js";
import { checkPlan } from "../check-plan.js";
import { createConfigDrive, inject, requireInjection } from "../config-drive-steps.js";
import type { GivenInjection } from "../config-drive-steps.js";
import type { Guest } from "../guest.js";
import type { GuestKernel } from "../guest-definition.js";
import { guestDefinitionOf } from "../guest-definition-of.js";
import type { HostContext } from "../host-context.js";
import { checkImageFits } from "../image-fit.js";
import { InstanceExistsError } from "../errors.js";
import type { InstanceRecord } from "../instance-record.js";
import type { InstanceSpec } from "../instance-spec.js";
import { emptyDrivesOf, planSpawn } from "../plan-spawn.js";
import type { InstancePlan } from "../plan-spawn.js";
import type { Operation } from "../operation.js";
import { runOperation } from "../run-operation.js";
import type { SpawnResult } from "../results.js";
import { kernelOf } from "../../storage/index.js";
import { storedSpec, validateInstanceSpec } from "../validate-instance-spec.js";
import type { StoredSpec } from "../validate-instance-spec.js";

export type SpawnOptions = OperationOptions & { readonly powerOn?: boolean };

export async function spawn(host: HostContext, given: InstanceSpec, options?: SpawnOptions): Promise<SpawnResult> {
  host.lifecycle.assertReady();
  const spec = validateInstanceSpec(given);
  const planned = planSpawn(storedSpec(spec));
  const instance = { uuid: spec.uuid, name: spec.name };
  const powerOn = options?.powerOn ?? true;
  const injection = { adminPassword: spec.adminPassword, files: spec.injectedFiles };
  requireInjection(host, spec, injection);
  checkPlan(host, planned);
  const { spawnMs, imageFetchMs, vifActiveMs } = host.timeouts;
  const request = { kind: "spawn", instance, options, timeoutMs: spawnMs + imageFetchMs + vifActiveMs };
  return runOperation(host, request, async (operation) => {
    await refuseExisting(operation);
    const plan = await checkImage(operation, planned);
    const record = await prepareResources(operation, plan, powerOn, injection);
    await prepareFilters(operation, instance, record.vifs, null);
    const guest = await defineGuest(operation, record);
    await applyFilters(operation, instance, record.vifs);
    await inject(operation, guest, spec, injection);
    if (powerOn) await bootWhenConnected(operation, guest, record.vifs);
    operation.throwIfAborted();
    return { instance, state: powerOn ? ("running" as const) : ("shutdown" as const) };
  }).then((result) => {
    host.events.emit({ type: "instance", instance, change: "spawned" });
    return result;
  });
}

export async function refuseExisting({ host, instance, signal }: Operation): Promise<void> {
  if (host.records.get(instance.uuid) !== undefined) throw new InstanceExistsError(instance);
  if ((await host.hypervisor.find(instance.uuid, { signal })) !== undefined) throw new InstanceExistsError(instance);
}

/** An image may say of itself which kernel it boots with; a kernel that the spec names goes before that. */
async function checkImage({ host, signal }: Operation, given: InstancePlan): Promise<InstancePlan> {
  const { images } = host.collaborators;
  const image = given.spec.imageId === undefined ? undefined : await images.describe(given.spec.imageId, { signal });
  if (image !== undefined) checkImageFits(image, given.spec.flavor);
  const kernel = given.spec.kernel ?? (image === undefined ? undefined : kernelOf(image));
  if (kernel === undefined) return given;
  await images.describe(kernel.kernelImageId, { signal });
  if (kernel.ramdiskImageId !== undefined) await images.describe(kernel.ramdiskImageId, { signal });
  if (given.spec.kernel !== undefined) return given;
  const plan = planSpawn({ ...given.spec, kernel });
  checkPlan(host, plan);
  return plan;
}

/** Disks, volumes and ports, and the record that holds them. The first record, with the spec alone, claims names, ports and volumes. */
async function prepareResources(
  operation: Operation,
  plan: InstancePlan,
  powerOn: boolean,
  given: GivenInjection,
): Promise<InstanceRecord> {
  const { host, instance } = operation;
  const { spec } = plan;
  let record: InstanceRecord = {
    version: 1,
    ...instance,
    spec,
    disks: [],
    volumes: [],
    vifs: [],
    ...emptyDrivesOf(plan),
    desiredState: powerOn ? "running" : "shutdown",
    createdAt: host.clock.now(),
  };
  await writeRecord(operation, record);
  const image = spec.imageId === undefined ? undefined : await fetchImage(operation, spec.imageId);
  if (image !== undefined) checkImageFits(image, spec.flavor);
  const kernel = await fetchKernel(operation, spec);
  if (kernel !== undefined) record = { ...record, kernel };
  operation.progress("disks");
  for (const disk of plan.disks) {
    const made = await createDisk(operation, disk, disk.imageId === undefined ? undefined : image);
    record = { ...record, disks: [...record.disks, made] };
  }
  if (plan.configDrive !== undefined) {
    const made = await createConfigDrive(operation, plan.configDrive, { ...instance, ...plan }, given);
    record = { ...record, disks: [...record.disks, made] };
  }
  operation.progress("volumes");
  for (const volume of plan.volumes)
    record = { ...record, volumes: [...record.volumes, await connectVolume(operation, volume)] };
  operation.progress("network");
  for (const vif of plan.vifs) record = { ...record, vifs: [...record.vifs, await plugVif(operation, vif)] };
  await writeRecord(operation, record);
  return record;
}

/** Brings kernel and ramdisk onto the host. */
export async function fetchKernel(
  operation: Operation,
  { kernel }: Pick<StoredSpec, "kernel">,
): Promise<GuestKernel | undefined> {
  if (kernel === undefined) return undefined;
  const { kernelImageId, ramdiskImageId, commandLine } = kernel;
  const { path: kernelPath } = await fetchImage(operation, kernelImageId);
  const ramdisk = ramdiskImageId === undefined ? undefined : await fetchImage(operation, ramdiskImageId);
  return {
    kernelPath,
    ...(ramdisk === undefined ? {} : { ramdiskPath: ramdisk.path }),
    ...(commandLine === undefined ? {} : { commandLine }),
  };
}

export async function defineGuest(operation: Operation, record: InstanceRecord): Promise<Guest> {
  const { host, instance, signal } = operation;
  operation.progress("define");
  try {
    return await operation.effect("guest", { uuid: instance.uuid }, () =>
      host.hypervisor.define(guestDefinitionOf(record), { signal }),
    );
  } catch (error) {
    // A device that another guest has is no matter of names.
    const isTaken = isHyperviseError(error, "CONFLICT") && error.device === undefined;
    throw isTaken ? new InstanceExistsError(instance, { cause: error }) : error;
  }
}

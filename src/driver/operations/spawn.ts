/** `spawn`: from a spec to a running guest, or to nothing at all. */
import { HyperviseError, isHyperviseError, NotSupportedError } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import {
  applyFilters,
  bootGuest,
  connectVolume,
  createDisk,
  fetchImage,
  plugVif,
  prepareFilters,
  writeRecord,
} from "../operation-steps.js";
import { checkPlan } from "../check-plan.js";
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
import { storedSpec, validateInstanceSpec } from "../validate-instance-spec.js";
import type { StoredSpec, ValidSpec } from "../validate-instance-spec.js";

export type SpawnOptions = OperationOptions & { readonly powerOn?: boolean };

export async function spawn(host: HostContext, given: InstanceSpec, options?: SpawnOptions): Promise<SpawnResult> {
  host.lifecycle.assertReady();
  const spec = validateInstanceSpec(given);
  const plan = planSpawn(storedSpec(spec));
  const instance = { uuid: spec.uuid, name: spec.name };
  const powerOn = options?.powerOn ?? true;
  checkInjection(host, spec);
  checkPlan(host, plan);
  const { spawnMs, imageFetchMs } = host.timeouts;
  const request = { kind: "spawn", instance, options, timeoutMs: spawnMs + imageFetchMs };
  return runOperation(host, request, async (operation) => {
    await refuseExisting(operation);
    await checkImage(operation, plan.spec);
    const record = await prepareResources(operation, plan, powerOn);
    await prepareFilters(operation, instance, record.vifs, null);
    const guest = await defineGuest(operation, record);
    await applyFilters(operation, instance, record.vifs);
    await inject(operation, guest, spec);
    if (powerOn) await bootGuest(operation, guest);
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

async function checkImage({ host, signal }: Operation, spec: StoredSpec): Promise<void> {
  const { images } = host.collaborators;
  if (spec.imageId !== undefined) checkImageFits(await images.describe(spec.imageId, { signal }), spec.flavor);
  if (spec.kernel !== undefined) await images.describe(spec.kernel.kernelImageId, { signal });
  if (spec.kernel?.ramdiskImageId !== undefined) await images.describe(spec.kernel.ramdiskImageId, { signal });
}

/** Disks, volumes and ports, and the record that holds them. The first record, with the spec alone, claims names, ports and volumes. */
async function prepareResources(operation: Operation, plan: InstancePlan, powerOn: boolean): Promise<InstanceRecord> {
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
    throw isHyperviseError(error, "CONFLICT") ? new InstanceExistsError(instance, { cause: error }) : error;
  }
}

function checkInjection(host: HostContext, spec: ValidSpec): void {
  const wanted = spec.adminPassword !== undefined || (spec.injectedFiles ?? []).length > 0;
  if (wanted && !host.lifecycle.capabilities.flags.injectAtSpawn)
    throw new NotSupportedError({ capability: "injectAtSpawn" });
}

async function inject({ signal }: Operation, guest: Guest, spec: ValidSpec): Promise<void> {
  const { adminPassword, injectedFiles = [] } = spec;
  if (adminPassword === undefined && injectedFiles.length === 0) return;
  if (guest.inject === undefined) {
    throw new HyperviseError("the hypervisor has the feature injectAtSpawn, but its guest has no inject method", {
      code: "INTERNAL",
    });
  }
  await guest.inject({ ...(adminPassword === undefined ? {} : { adminPassword }), files: injectedFiles }, { signal });
}

/** `preLiveMigration`: all that the guest needs on the destination, and a place where it is waited for. */
import type { OperationOptions } from "../../core/index.js";
import { admit } from "../admission.js";
import { applyFilters, connectVolume, createDisk, plugVif, prepareFilters, writeRecord } from "../operation-steps.js";
import { checkMigrateData, movedInstance } from "../migrate-data.js";
import type { MovedInstance } from "../migrate-data.js";
import { checkPlan } from "../check-plan.js";
import { receiveConfigDrive } from "../config-drive-steps.js";
import { fetchKernel } from "./spawn.js";
import { guestDefinitionOf } from "../guest-definition-of.js";
import type { HostContext } from "../host-context.js";
import { InstanceExistsError, MigrationPreCheckError } from "../errors.js";
import type { InstanceDisk, InstanceRecord } from "../instance-record.js";
import type { InstanceRef } from "../instance-spec.js";
import type { LiveMigrateData } from "../facets/live-migration.js";
import { NotSupportedError } from "../../core/index.js";
import type { Operation } from "../operation.js";
import { emptyDrivesOf, placeOfDisk, planSpawn } from "../plan-spawn.js";
import type { InstancePlan } from "../plan-spawn.js";
import { runOperation } from "../run-operation.js";

export async function preLiveMigration(
  host: HostContext,
  given: InstanceRef,
  givenData: LiveMigrateData,
  options?: OperationOptions,
): Promise<LiveMigrateData> {
  const instance = admit(host, given);
  const data = checkMigrateData(givenData, instance);
  const moved = movedInstance(data);
  const plan = planSpawn(moved.spec);
  checkPlan(host, plan);
  const { spawnMs, imageFetchMs } = host.timeouts;
  return runOperation(
    host,
    { kind: "preLiveMigration", instance, options, timeoutMs: spawnMs + imageFetchMs },
    async (operation) => {
      if (host.records.get(instance.uuid) !== undefined) throw new InstanceExistsError(instance);
      if (data.sharedStorage === undefined)
        throw new MigrationPreCheckError("the source has not been asked yet", { instance });
      const record = await receive(operation, plan, data, moved);
      const { hypervisor } = host;
      if (hypervisor.prepareIncoming === undefined) throw new NotSupportedError({ capability: "liveMigration" });
      const request = {
        copyDisks: data.copyDisks ?? [],
        paused: moved.desiredState === "paused",
        ...(data.guest === undefined ? {} : { guest: data.guest }),
      };
      const incoming = await operation.effect("incoming", { uuid: instance.uuid }, async () =>
        hypervisor.prepareIncoming?.(guestDefinitionOf(record), request, { signal: operation.signal }),
      );
      await applyFilters(operation, instance, record.vifs);
      return { ...data, ...(incoming === undefined ? {} : { token: incoming.token }) };
    },
  );
}

async function receive(
  operation: Operation,
  plan: InstancePlan,
  data: LiveMigrateData,
  { disks: movedDisks, desiredState, template }: MovedInstance,
): Promise<InstanceRecord> {
  const { host, instance } = operation;
  let record: InstanceRecord = {
    version: 1,
    ...instance,
    spec: plan.spec,
    disks: [],
    volumes: [],
    vifs: [],
    ...emptyDrivesOf(plan),
    ...(template === undefined || data.sharedStorage !== true ? {} : { template }),
    desiredState,
    migration: { role: "destination", id: data.id },
    createdAt: host.clock.now(),
  };
  await writeRecord(operation, record);
  const kernel = await fetchKernel(operation, plan.spec);
  if (kernel !== undefined) record = { ...record, kernel };
  operation.progress("disks");
  for (const disk of plan.disks) {
    const known = movedDisks.find(({ name }) => name === disk.name);
    const made = await createDisk(operation, { ...placeOfDisk(disk), ...known }, undefined);
    record = { ...record, disks: [...record.disks, made] };
  }
  const drive = await configDriveFrom(operation, plan, data);
  if (drive !== undefined) record = { ...record, disks: [...record.disks, drive] };
  operation.progress("volumes");
  for (const volume of plan.volumes)
    record = { ...record, volumes: [...record.volumes, await connectVolume(operation, volume)] };
  operation.progress("network");
  for (const vif of plan.vifs) record = { ...record, vifs: [...record.vifs, await plugVif(operation, vif)] };
  await writeRecord(operation, record);
  await prepareFilters(operation, instance, record.vifs, null);
  return record;
}

/** The drive that the guest has had since it was spawned: it may have it mounted. */
async function configDriveFrom(
  operation: Operation,
  { configDrive }: InstancePlan,
  { configDriveSecret, sharedStorage }: LiveMigrateData,
): Promise<InstanceDisk | undefined> {
  if (configDrive === undefined) return undefined;
  const { host, instance } = operation;
  if (sharedStorage === true) {
    const kept = (await host.collaborators.disks.list(instance.uuid)).find(({ name }) => name === configDrive.name);
    if (kept !== undefined) return { ...configDrive, sizeBytes: kept.virtualSizeBytes, source: kept.source };
  } else if (configDriveSecret !== undefined) {
    return receiveConfigDrive(operation, configDrive, configDriveSecret);
  }
  throw new MigrationPreCheckError("the instance's config drive did not come with it", {
    instance,
    device: configDrive.name,
  });
}

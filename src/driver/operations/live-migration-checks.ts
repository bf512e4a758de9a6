/** The checks before a live migration. */
import type { JsonObject, OperationOptions } from "../../core/index.js";
import { admit } from "../admission.js";
import { checkMigrateData, movedInstance } from "../migrate-data.js";
import { checkPlan } from "../check-plan.js";
import { isConfigDisk } from "../plan-config-drive.js";
import { requireConfigDrives } from "../config-drive-steps.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import type { LiveMigrateData } from "../facets/live-migration.js";
import { MigrationPreCheckError } from "../errors.js";
import { planSpawn } from "../plan-spawn.js";
import { requireInMemory } from "../guest-actions.js";
import { requireNoTask } from "../task-state.js";
import { runOperation, runQuery } from "../run-operation.js";

export async function checkCanLiveMigrateSource(
  host: HostContext,
  given: InstanceRef,
  givenData?: LiveMigrateData,
  options?: OperationOptions,
): Promise<LiveMigrateData> {
  const instance = admit(host, given);
  const data = givenData === undefined ? undefined : checkMigrateData(givenData, instance);
  return runQuery(host, "checkCanLiveMigrateSource", options, async (signal) => {
    const record = host.records.require(instance.uuid);
    requireNoTask(record, "liveMigration");
    const guest = await requireInMemory(host, instance.uuid, "liveMigration", signal);
    if (data === undefined) {
      const facts = await host.hypervisor.hostFacts({ signal });
      const described = await guest.describeMigration?.();
      return {
        version: 1,
        id: globalThis.crypto.randomUUID(),
        instance: { uuid: record.uuid, name: record.name },
        record: structuredClone(record) as unknown as JsonObject,
        sourceHost: facts.hostname,
        sourceHypervisor: host.hypervisor.type,
        sourceCpu: facts.cpu,
        ...(described === undefined ? {} : { guest: described }),
      };
    }
    const { storageToken } = data;
    if (storageToken === undefined)
      throw new MigrationPreCheckError("the destination has not been asked yet", { instance });
    const sharedStorage = await host.collaborators.disks.seesToken(storageToken);
    if (sharedStorage) return { ...data, sharedStorage, copyDisks: [] };
    const drive = record.disks.find(isConfigDisk);
    return {
      ...{ ...data, sharedStorage, copyDisks: record.disks.filter((disk) => disk !== drive).map(({ name }) => name) },
      ...(drive === undefined
        ? {}
        : { configDriveSecret: await requireConfigDrives(host).pack(drive.source, { signal }) }),
    };
  });
}

export async function checkCanLiveMigrateDestination(
  host: HostContext,
  given: InstanceRef,
  givenData: LiveMigrateData,
  options?: OperationOptions,
): Promise<LiveMigrateData> {
  const instance = admit(host, given);
  const data = checkMigrateData(givenData, instance);
  const { spec } = movedInstance(data);
  const request = { kind: "checkCanLiveMigrateDestination", instance, options, timeoutMs: host.timeouts.queryMs };
  return runOperation(host, request, async (operation) => {
    const { signal } = operation;
    const refuse = (message: string): never => {
      throw new MigrationPreCheckError(message, { instance });
    };
    if (data.sourceHypervisor !== host.hypervisor.type)
      refuse(`a guest of ${data.sourceHypervisor} can't run on ${host.hypervisor.type}`);
    const present = host.records.get(instance.uuid) ?? (await host.hypervisor.find(instance.uuid, { signal }));
    if (present !== undefined) refuse("the instance is on the destination already");
    const plan = planSpawn(spec);
    checkPlan(host, plan);
    if (plan.configDrive !== undefined) requireConfigDrives(host);
    const facts = await host.hypervisor.hostFacts({ signal });
    const comparison = (await host.hypervisor.compareCpu?.(data.sourceCpu, { signal })) ?? "identical";
    if (comparison === "incompatible") refuse("the destination's CPU lacks something of the source's");
    const freeMiB = facts.memoryMiB - facts.memoryUsedMiB;
    if (freeMiB < spec.flavor.memoryMiB)
      refuse(`the destination has ${freeMiB} MiB of memory free, the guest has ${spec.flavor.memoryMiB}`);
    const storageToken = `live-migration-${data.id}`;
    await operation.effect("storageToken", { token: storageToken }, () =>
      host.collaborators.disks.leaveToken(storageToken),
    );
    return { ...data, destinationHost: facts.hostname, storageToken };
  });
}

/** Success when there is no token. */
export function cleanupLiveMigrationDestinationCheck(host: HostContext, givenData: LiveMigrateData): Promise<void> {
  return runQuery(host, "cleanupLiveMigrationDestinationCheck", undefined, async () => {
    const { storageToken } = checkMigrateData(givenData);
    if (storageToken !== undefined) await host.collaborators.disks.removeToken(storageToken);
  });
}

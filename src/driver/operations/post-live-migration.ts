/** What is done on both hosts when a live migration is over. All goes forward only, and may be repeated. */
import type { OperationOptions, OperationRecord } from "../../core/index.js";
import { admit } from "../admission.js";
import { announced, isInMemory, powerStateOf } from "../guest-actions.js";
import { checkMigrateData } from "../migrate-data.js";
import { disconnectVolume } from "../effects.js";
import type { HostContext } from "../host-context.js";
import { instanceOf } from "../recover-operations.js";
import type { InstanceRef } from "../instance-spec.js";
import { InvalidStateError } from "../errors.js";
import type { LiveMigrateData } from "../facets/live-migration.js";
import type { Operation } from "../operation.js";
import { runOperation } from "../run-operation.js";
import { tearDown } from "../tear-down.js";

export function postLiveMigration(host: HostContext, given: InstanceRef, data: LiveMigrateData): Promise<void> {
  return onward(host, "postLiveMigration", given, data, async ({ instance }) => {
    const record = host.records.get(instance.uuid);
    if (record?.migration?.role !== "source") return;
    for (const { connection } of record.volumes) await disconnectVolume(host, connection, instance.uuid);
  });
}

export function postLiveMigrationAtSource(host: HostContext, given: InstanceRef, data: LiveMigrateData): Promise<void> {
  return onward(host, "postLiveMigrationAtSource", given, data, async (operation, { sharedStorage }) => {
    const { instance, signal } = operation;
    const record = host.records.get(instance.uuid);
    if (record?.migration?.role !== "source") return;
    const guest = await host.hypervisor.find(instance.uuid, { signal });
    const state = guest === undefined ? "shutdown" : await powerStateOf(guest, signal);
    if (isInMemory(state)) {
      throw new InvalidStateError({
        operation: "postLiveMigrationAtSource",
        state,
        expected: ["migrated away"],
        instance,
      });
    }
    const destroyDisks = sharedStorage === false;
    await operation.passPointOfNoReturn({ instance: { ...instance }, destroyDisks });
    await leave(host, instance, destroyDisks, signal);
  });
}

/** Removes what the source keeps of an instance that runs elsewhere. */
async function leave(
  host: HostContext,
  instance: InstanceRef,
  destroyDisks: boolean,
  signal?: AbortSignal,
): Promise<void> {
  if (host.records.get(instance.uuid) === undefined) return;
  await tearDown(host, { instance, destroyDisks, change: "migratedOut", ...(signal === undefined ? {} : { signal }) });
}

export function postLiveMigrationAtSourceAgain(host: HostContext, operation: OperationRecord): Promise<void> {
  const instance = instanceOf(operation);
  return instance === undefined ? Promise.resolve() : leave(host, instance, operation.params["destroyDisks"] === true);
}

export function postLiveMigrationAtDestination(
  host: HostContext,
  given: InstanceRef,
  data: LiveMigrateData,
  options?: OperationOptions,
): Promise<void> {
  return onward(
    host,
    "postLiveMigrationAtDestination",
    given,
    data,
    async ({ instance, signal }) => {
      const { migration: underWay, ...record } = host.records.require(instance.uuid);
      if (underWay === undefined) return;
      await announced(host, instance, "migrationCompleted", async () =>
        host.hypervisor.finishIncoming?.(instance.uuid, { signal }),
      );
      await host.records.put(record);
      host.events.emit({ type: "instance", instance, change: "migratedIn" });
    },
    options,
  );
}

export function rollbackLiveMigrationAtDestination(
  host: HostContext,
  given: InstanceRef,
  data: LiveMigrateData,
): Promise<void> {
  return onward(
    host,
    "rollbackLiveMigrationAtDestination",
    given,
    data,
    async (operation, { sharedStorage, storageToken }) => {
      const { instance, signal } = operation;
      if (storageToken !== undefined) await host.collaborators.disks.removeToken(storageToken);
      const record = host.records.get(instance.uuid);
      if (record?.migration?.role !== "destination") return;
      const guest = await host.hypervisor.find(instance.uuid, { signal });
      const state = guest === undefined ? "shutdown" : await powerStateOf(guest, signal);
      if (state === "running") {
        throw new InvalidStateError({
          operation: "rollbackLiveMigrationAtDestination",
          state,
          expected: ["not arrived"],
          instance,
        });
      }
      // Refused for a guest that was taken over already; then nothing is removed.
      await host.hypervisor.abortIncoming?.(instance.uuid);
      const destroyDisks = sharedStorage === false;
      await operation.passPointOfNoReturn({ instance: { ...instance }, destroyDisks });
      await dropIncoming(host, instance, destroyDisks, signal);
    },
  );
}

async function dropIncoming(
  host: HostContext,
  instance: InstanceRef,
  destroyDisks: boolean,
  signal?: AbortSignal,
): Promise<void> {
  await host.hypervisor.abortIncoming?.(instance.uuid);
  if (host.records.get(instance.uuid) === undefined) return;
  await tearDown(host, { instance, destroyDisks, change: "none", ...(signal === undefined ? {} : { signal }) });
}

export function rollbackLiveMigrationAtDestinationAgain(host: HostContext, operation: OperationRecord): Promise<void> {
  const instance = instanceOf(operation);
  return instance === undefined
    ? Promise.resolve()
    : dropIncoming(host, instance, operation.params["destroyDisks"] === true);
}

export function rollbackLiveMigrationAtSource(
  host: HostContext,
  given: InstanceRef,
  data: LiveMigrateData,
): Promise<void> {
  return onward(host, "rollbackLiveMigrationAtSource", given, data, async ({ instance }) => {
    const record = host.records.get(instance.uuid);
    if (record?.migration?.role !== "source") return;
    const guest = await host.hypervisor.find(instance.uuid);
    await guest?.reclaimMigration?.();
    await host.records.update(instance.uuid, ({ migration: _migration, ...rest }) => rest);
  });
}

async function onward(
  host: HostContext,
  kind: string,
  given: InstanceRef,
  givenData: LiveMigrateData,
  body: (operation: Operation, data: LiveMigrateData) => Promise<void>,
  options?: OperationOptions,
): Promise<void> {
  const instance = admit(host, given);
  const data = checkMigrateData(givenData, instance);
  return runOperation(host, { kind, instance, options, timeoutMs: host.timeouts.spawnMs }, (operation) =>
    body(operation, data),
  );
}

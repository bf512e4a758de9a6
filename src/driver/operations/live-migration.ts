/** `liveMigration`, its abort and its forced end, on the source. */
import { AbortedError, asError, check, NotSupportedError } from "../../core/index.js";
import type { OperationHandle, OperationRecord } from "../../core/index.js";
import { admit } from "../admission.js";
import { checkInstance } from "../operation-options.js";
import { checkMigrateData } from "../migrate-data.js";
import type { Guest } from "../guest.js";
import type {
  GuestMigrationOptions,
  GuestMigrationRequest,
  MigrationOutcome,
  MigrationProgress,
} from "../guest-migration.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { powerStateOf, requireGuest, requireInMemory } from "../guest-actions.js";
import type { LiveMigrateData, LiveMigrationOptions } from "../facets/live-migration.js";
import { MigrationError, MigrationPreCheckError, NoActiveMigrationError } from "../errors.js";
import type { Operation } from "../operation.js";
import { requireNoTask } from "../task-state.js";
import { runQuery } from "../run-operation.js";
import { startOperation } from "../operation-handle.js";
import { writeRecord } from "../operation-steps.js";

const downtime = check.integer({ min: 1, max: 60_000 });
const bandwidth = check.integer({ min: 0, max: 1_048_576 });
const modeCheck = check.oneOf(["postcopy", "pause"]);

export function liveMigration(
  host: HostContext,
  given: InstanceRef,
  givenData: LiveMigrateData,
  options: LiveMigrationOptions = {},
): OperationHandle<void> {
  const instance = checkInstance(given);
  const data = checkMigrateData(givenData, instance);
  const { token } = data;
  if (token === undefined) throw new MigrationPreCheckError("the destination is not prepared", { instance });
  const wanted: GuestMigrationRequest = {
    token,
    copyDisks: data.copyDisks ?? [],
    downtimeMs: downtime(options.downtimeMs ?? 500, "options.downtimeMs"),
    bandwidthMiBps: bandwidth(options.bandwidthMiBps ?? 0, "options.bandwidthMiBps"),
    allowPostcopy: options.allowPostcopy ?? false,
    autoConverge: options.autoConverge ?? false,
  };
  const request = { kind: "liveMigration", instance, options, timeoutMs: host.timeouts.migrationMs };
  return startOperation(host, keyOf(instance.uuid), request, (operation) => migrate(operation, data, wanted, options));
}

async function migrate(
  operation: Operation,
  data: LiveMigrateData,
  request: GuestMigrationRequest,
  options: LiveMigrationOptions,
): Promise<void> {
  const { host, instance } = operation;
  const record = host.records.require(instance.uuid);
  requireNoTask(record, "liveMigration");
  const guest = await requireInMemory(host, instance.uuid, "liveMigration", operation.signal);
  await writeRecord(operation, { ...record, migration: { role: "source", id: data.id } });
  let committed = false;
  const beforeSwitchover = async (): Promise<void> => {
    await operation.passPointOfNoReturn({ instance: { ...instance } }, "give-up");
    committed = true;
  };
  const onMigrationProgress = (progress: MigrationProgress): void => {
    const { phase, memoryTransferredBytes, diskTransferredBytes, memoryTotalBytes, diskTotalBytes } = progress;
    const bytesDone = memoryTransferredBytes + diskTransferredBytes;
    const bytesTotal = memoryTotalBytes + diskTotalBytes;
    operation.progress(phase, {
      bytesDone,
      bytesTotal,
      ...(bytesTotal > 0 ? { fraction: Math.min(1, bytesDone / bytesTotal) } : {}),
    });
    options.onMigrationProgress?.(progress);
  };
  const outcome = await operation.effect("outgoing", { uuid: guest.uuid }, () =>
    run(guest, request, { signal: operation.signal, onMigrationProgress, beforeSwitchover }),
  );
  if (outcome === "completed") return;
  if (committed) await leaveHere(host, instance.uuid);
  if (outcome instanceof Error) throw outcome;
  throw outcome === "aborted"
    ? new AbortedError({ operation: "liveMigration", instance })
    : new MigrationError("the live migration failed; the guest runs on the source as before", { instance });
}

/** A guest that has gone over must not be taken back, whatever error came after that. Other errors are given, not thrown: what they left is settled here. */
async function run(
  guest: Guest,
  request: GuestMigrationRequest,
  options: GuestMigrationOptions,
): Promise<MigrationOutcome | Error> {
  if (guest.migrate === undefined) throw new NotSupportedError({ capability: "liveMigration" });
  try {
    return await guest.migrate(request, options);
  } catch (error) {
    return (await hasGone(guest)) ? "completed" : asError(error);
  }
}

/** Whether the guest is the destination's. Ends what is under way as far as that goes. */
async function hasGone(guest: Guest): Promise<boolean> {
  if (guest.migrationOutcome !== undefined) return (await guest.migrationOutcome()) === "completed";
  await guest.abortMigration?.();
  return (await powerStateOf(guest)) === "shutdown";
}

/** The guest stays: nothing is under way any more. */
async function leaveHere(host: HostContext, uuid: string): Promise<void> {
  if (host.records.get(uuid)?.migration === undefined) return;
  await host.records.update(uuid, ({ migration: _migration, ...record }) => record);
}

/** A former process died after the point of no return: a guest that is still here stays; one that has gone is left for the `post` methods. */
export async function liveMigrationAgain(host: HostContext, { instanceUuid }: OperationRecord): Promise<void> {
  if (instanceUuid === undefined) return;
  const guest = await host.hypervisor.find(instanceUuid);
  if (guest !== undefined && !(await hasGone(guest))) await leaveHere(host, instanceUuid);
}

export async function liveMigrationAbort(host: HostContext, given: InstanceRef): Promise<void> {
  const instance = admit(host, given);
  await underWay(host, instance).abort("liveMigrationAbort");
}

export async function liveMigrationForceComplete(
  host: HostContext,
  given: InstanceRef,
  mode: "postcopy" | "pause" = "pause",
): Promise<void> {
  const instance = admit(host, given);
  modeCheck(mode, "mode");
  underWay(host, instance);
  return runQuery(host, "liveMigrationForceComplete", undefined, async (signal) => {
    const guest = await requireGuest(host, instance.uuid, signal);
    if (guest.forceCompleteMigration === undefined) throw new NotSupportedError({ capability: "liveMigration" });
    await guest.forceCompleteMigration(mode, { signal });
  });
}

/** @throws NoActiveMigrationError */
function underWay(host: HostContext, instance: InstanceRef): OperationHandle<unknown> {
  const handle = host.handles.find(keyOf(instance.uuid));
  if (handle === undefined)
    throw new NoActiveMigrationError("no live migration of the instance is under way", { instance });
  return handle;
}

function keyOf(uuid: string): string {
  return `liveMigration ${uuid}`;
}

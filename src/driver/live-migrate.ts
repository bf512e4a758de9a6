/** A live migration from one driver to another, as one operation: Nova's conductor, in a function. */
import { AbortedError, asError, HyperviseError, isHyperviseError, OperationController } from "../core/index.js";
import type { OperationHandle } from "../core/index.js";
import type { ComputeDriver } from "./compute-driver.js";
import type { Facets } from "./facets.js";
import type { InstanceRef } from "./instance-spec.js";
import type { LiveMigrateData, LiveMigrationOptions } from "./facets/live-migration.js";

export type LiveMigratingDriver = ComputeDriver & Facets["liveMigration"];

/**
 * Moves a running instance from `source` to `destination`, two drivers of one kind that this process holds.
 *
 * The handle's result resolves when the instance runs on the destination and nothing of it is left on the source but what they share. When it rejects before the
 * point of no return (phase `switchover` or `postcopy`), the instance runs on the source as before and nothing of it is left on the destination; what could not be removed
 * is on the error's `undoErrors`. After it the instance belongs to the destination, whatever fails: call the `postLiveMigration…` methods again. One exception: when the destination
 * has lost it before it ran there, it goes back and runs on the source, and the result rejects with `MigrationError`.
 * Phases: `check`, `prepare`, those of the migration, `finish`.
 * Rejects with `MigrationPreCheckError`, `MigrationError`, `AbortedError`, or what preparing the destination rejects with.
 */
export function liveMigrate(
  source: LiveMigratingDriver,
  destination: LiveMigratingDriver,
  instance: InstanceRef,
  options: LiveMigrationOptions = {},
): OperationHandle<void> {
  const { signal, onProgress } = options;
  return OperationController.run<void>({ kind: "liveMigrate", signal, onProgress }, async (controller) => {
    const undo: (() => Promise<unknown>)[] = [];
    try {
      controller.update({ phase: "check" });
      const checked = await checkBoth(source, destination, instance, controller.signal, undo);
      throwIfAborted(controller.signal, instance);
      controller.update({ phase: "prepare" });
      undo.push(() => destination.rollbackLiveMigrationAtDestination(instance, checked));
      const data = await destination.preLiveMigration(instance, checked, { signal: controller.signal });
      undo.push(() => source.rollbackLiveMigrationAtSource(instance, data));
      throwIfAborted(controller.signal, instance);
      await move(source, instance, data, options, controller);
      undo.length = 0;
      controller.update({ phase: "finish" });
      await finish(source, destination, instance, data);
    } catch (error) {
      throw await rolledBack(asError(error), undo);
    }
  });
}

/** The token that the destination leaves on its storage is gone when this is over. */
async function checkBoth(
  source: LiveMigratingDriver,
  destination: LiveMigratingDriver,
  instance: InstanceRef,
  signal: AbortSignal,
  undo: (() => Promise<unknown>)[],
): Promise<LiveMigrateData> {
  const asked = await source.checkCanLiveMigrateSource(instance, undefined, { signal });
  const answered = await destination.checkCanLiveMigrateDestination(instance, asked, { signal });
  const cleanUp = (): Promise<void> => destination.cleanupLiveMigrationDestinationCheck(answered);
  undo.push(cleanUp);
  const checked = await source.checkCanLiveMigrateSource(instance, answered, { signal });
  await cleanUp();
  return checked;
}

/** Runs the migration itself; until its point of no return, an abort of the whole is an abort of it. */
async function move(
  source: LiveMigratingDriver,
  instance: InstanceRef,
  data: LiveMigrateData,
  options: LiveMigrationOptions,
  controller: OperationController<void>,
): Promise<void> {
  const { onProgress: _onProgress, signal: _signal, ...rest } = options;
  const handle = source.liveMigration(instance, data, { ...rest, signal: controller.signal });
  for await (const { phase, fraction, bytesDone, bytesTotal, abortable, state } of handle.events()) {
    if (state !== "running") break;
    controller.update({
      phase,
      ...(fraction === undefined ? {} : { fraction }),
      ...(bytesDone === undefined ? {} : { bytesDone }),
      ...(bytesTotal === undefined ? {} : { bytesTotal }),
    });
    if (!abortable && controller.handle.abortable) controller.passPointOfNoReturn();
  }
  try {
    await handle.result;
  } catch (error) {
    if (!(await hasLeft(source, instance))) throw error;
  }
  if (controller.handle.abortable) controller.passPointOfNoReturn();
}

/** A migration that failed in its last step may have moved the guest all the same; then there is no way back. */
async function hasLeft(source: LiveMigratingDriver, instance: InstanceRef): Promise<boolean> {
  const { state, task } = await source.getInfo(instance);
  return state === "shutdown" && task === "migratingOut";
}

/** The instance is the destination's: everything is tried, and the first failure is told with the others attached. One that the destination has lost on the way goes back. */
async function finish(
  source: LiveMigratingDriver,
  destination: LiveMigratingDriver,
  instance: InstanceRef,
  data: LiveMigrateData,
): Promise<void> {
  const errors: Error[] = [];
  await destination.postLiveMigrationAtDestination(instance, data).catch(async (error: unknown) => {
    // It has not come and will not, so that it has not run there.
    if (!isHyperviseError(error, "MIGRATION_FAILED")) return errors.push(asError(error));
    await destination.rollbackLiveMigrationAtDestination(instance, data);
    await source.rollbackLiveMigrationAtSource(instance, data);
    throw error;
  });
  for (const step of [
    () => source.postLiveMigration(instance, data),
    () => source.postLiveMigrationAtSource(instance, data),
  ]) {
    await step().catch((error: unknown) => errors.push(asError(error)));
  }
  const [first, ...others] = errors;
  if (first instanceof HyperviseError) first.attachUndoErrors(others);
  if (first !== undefined) throw first;
}

async function rolledBack(error: Error, undo: (() => Promise<unknown>)[]): Promise<Error> {
  const failures: Error[] = [];
  for (const step of undo.reverse()) await step().catch((failure: unknown) => failures.push(asError(failure)));
  if (error instanceof HyperviseError && failures.length > 0) error.attachUndoErrors(failures);
  return error;
}

function throwIfAborted(signal: AbortSignal, instance: InstanceRef): void {
  if (signal.aborted) throw new AbortedError({ operation: "liveMigrate", instance, cause: signal.reason });
}

import { describe, expect, it, vi } from "vitest";
import { FakeDriver, FakeWorld, faultCases } from "../../../src/fake/index.js";
import { liveMigrate } from "../../../src/driver/index.js";
import type { InstanceRef, LiveMigrateData } from "../../../src/driver/index.js";
import type { LedgerEntry } from "../../../src/fake/index.js";
import { failureOf } from "./support/scenarios.js";
import { connection, fullSpec } from "./support/specs.js";

interface Pair {
  readonly world: FakeWorld;
  readonly source: FakeDriver;
  readonly destination: FakeDriver;
  readonly instance: InstanceRef;
}

async function pair(storage: "shared" | "separate"): Promise<Pair> {
  const shared = storage === "shared";
  const world = new FakeWorld({
    hosts: [
      { name: "a", storage: shared ? "shared" : "a" },
      { name: "b", storage: shared ? "shared" : "b" },
    ],
  });
  for (const volumeId of ["vol-1", "vol-2", "vol-3"]) world.volumes.create({ volumeId });
  const source = new FakeDriver({ world, host: "a" });
  const destination = new FakeDriver({ world, host: "b" });
  await source.initHost();
  await destination.initHost();
  const { instance } = await source.spawn(fullSpec());
  return { world, source, destination, instance };
}

/** The world with the two hosts' names exchanged, so that "moved" is "the same, elsewhere". */
function exchanged(ledger: readonly LedgerEntry[]): readonly string[] {
  const other: Readonly<Record<string, string>> = { a: "b", b: "a" };
  return ledger.map((entry) => JSON.stringify({ ...entry, place: other[entry.place] ?? entry.place })).sort();
}
const texts = (ledger: readonly LedgerEntry[]): readonly string[] =>
  ledger
    .filter(({ kind }) => kind !== "consolePort")
    .map((entry) => JSON.stringify(entry))
    .sort();
const withoutPorts = (ledger: readonly LedgerEntry[]): readonly LedgerEntry[] =>
  ledger.filter(({ kind }) => kind !== "consolePort");

describe.each(["shared", "separate"] as const)("liveMigrate with %s storage", (storage) => {
  it("moves a running guest, and all that it has, to the other host", async () => {
    const { world, source, destination, instance } = await pair(storage);
    world.guest(instance.uuid).write("root", "kept");
    const before = withoutPorts(world.ledger());
    const handle = liveMigrate(source, destination, instance);
    const phases = new Set<string>();
    for await (const { phase } of handle.events()) phases.add(phase);
    await handle.result;
    expect([...phases]).toEqual(expect.arrayContaining(["check", "prepare", "finish"]));
    expect(texts(world.ledger())).toEqual(exchanged(before));
    expect(world.guest(instance.uuid).read("root")).toContain("kept");
    await expect(source.getInfo(instance)).rejects.toMatchObject({ code: "INSTANCE_NOT_FOUND" });
    expect(await destination.getInfo(instance)).toMatchObject({ state: "running", task: "none" });
    world.assertSound();
    await destination.attachVolume(instance, connection("vol-3"));
    await destination.destroy(instance);
    expect(world.ledger()).toEqual([]);
  });

  it("leaves the guest on the source, or has it on the destination, wherever something fails", async () => {
    const dry = await pair(storage);
    const traces = [dry.source, dry.destination].map((driver) => driver.faults.startTrace());
    await liveMigrate(dry.source, dry.destination, dry.instance).result;
    const passed = traces.map((trace) => trace.passed);
    for (const [side, points] of passed.entries()) {
      for (const fault of faultCases(points.filter(({ point }) => !point.startsWith("driver.")))) {
        const { world, source, destination, instance } = await pair(storage);
        const before = withoutPorts(world.ledger());
        const label = `${side === 0 ? "source" : "destination"} ${fault.point} #${fault.nth} ${fault.at}`;
        const spy = vi.spyOn(destination, "preLiveMigration");
        const prepared = (): Promise<LiveMigrateData> =>
          Promise.resolve(spy.mock.results[0]?.value as Promise<LiveMigrateData>);
        const set = (side === 0 ? source : destination).faults.failOn(fault.point, fault);
        const error = await failureOf(liveMigrate(source, destination, instance).result);
        set.remove();
        if (
          error !== undefined &&
          (await source.getInfo(instance).then(
            ({ task, state }) => state === "running" && task === "none",
            () => false,
          ))
        ) {
          expect(texts(world.ledger()), label).toEqual(texts(before));
          await liveMigrate(source, destination, instance).result;
        } else if (error !== undefined) {
          expect(await destination.getInfo(instance), label).toMatchObject({ state: "running" });
          await settle(source, destination, instance, await prepared());
        }
        const after = withoutPorts(world.ledger());
        expect(texts(after), label).toEqual(exchanged(before));
        world.assertSound();
        await source.close();
        await destination.close();
      }
    }
  }, 60_000);

  it("can be aborted until the point of no return, and then leaves nothing on the destination", async () => {
    const { world, source, destination, instance } = await pair(storage);
    world.setBehaviour(instance.uuid, { dirtyMiBps: 100_000, workingSet: 1 });
    const before = withoutPorts(world.ledger());
    const handle = liveMigrate(source, destination, instance);
    for await (const { phase } of handle.events()) if (phase === "memory") break;
    await handle.abort();
    await expect(handle.result).rejects.toMatchObject({ code: "ABORTED" });
    expect(texts(world.ledger())).toEqual(texts(before));
    expect(await source.getInfo(instance)).toMatchObject({ state: "running", task: "none" });
  });

  it("ends a migration that does not converge when it is forced to", async () => {
    const { world, source, destination, instance } = await pair(storage);
    world.setBehaviour(instance.uuid, { dirtyMiBps: 100_000, workingSet: 1 });
    const handle = liveMigrate(source, destination, instance);
    for await (const { phase } of handle.events()) if (phase === "memory") break;
    await source.liveMigrationForceComplete(instance, "pause");
    await handle.result;
    expect(await destination.getInfo(instance)).toMatchObject({ state: "running" });
  });
});

/** What an embedder does after a failure past the point of no return: the last steps again. */
async function settle(
  source: FakeDriver,
  destination: FakeDriver,
  instance: InstanceRef,
  data: LiveMigrateData,
): Promise<void> {
  await destination.postLiveMigrationAtDestination(instance, data);
  await source.postLiveMigration(instance, data);
  await source.postLiveMigrationAtSource(instance, data);
}

describe("the parts of a live migration", () => {
  it("refuses a destination that has the instance, another kind of hypervisor's guest, or no room", async () => {
    const { source, destination, instance } = await pair("shared");
    const data = await source.checkCanLiveMigrateSource(instance);
    await expect(source.checkCanLiveMigrateDestination(instance, data)).rejects.toMatchObject({
      code: "MIGRATION_PRECHECK_FAILED",
    });
    const foreign = { ...data, sourceHypervisor: "other" };
    await expect(destination.checkCanLiveMigrateDestination(instance, foreign)).rejects.toMatchObject({
      code: "MIGRATION_PRECHECK_FAILED",
    });
    const cpu = { ...data, sourceCpu: { ...data.sourceCpu, features: ["no-such-feature"] } };
    await expect(destination.checkCanLiveMigrateDestination(instance, cpu)).rejects.toMatchObject({
      code: "MIGRATION_PRECHECK_FAILED",
    });
    const wrong = { ...data, version: 2 } as unknown as typeof data;
    await expect(destination.checkCanLiveMigrateDestination(instance, wrong)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "data.version",
    });
  });
  it("has nothing to abort or to force when no migration is under way", async () => {
    const { source, instance } = await pair("shared");
    await expect(source.liveMigrationAbort(instance)).rejects.toMatchObject({ code: "NO_ACTIVE_MIGRATION" });
    await expect(source.liveMigrationForceComplete(instance)).rejects.toMatchObject({ code: "NO_ACTIVE_MIGRATION" });
  });
});

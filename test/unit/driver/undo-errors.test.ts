import { describe, expect, it } from "vitest";
import { UndoFailedError } from "../../../src/core/index.js";
import { fullSpec, smallSpec } from "./support/specs.js";
import { failureOf, instance, openStage } from "./support/scenarios.js";
import type { Stage } from "./support/scenarios.js";

/** A spawn that fails when it plugs its port, and can't take its root disk back. */
async function failedSpawn(): Promise<Stage & { readonly mend: () => void }> {
  const stage = await openStage();
  const { faults } = stage.driver;
  const plug = faults.failOn("vifs.plug", { nth: 1, at: "partial" });
  const remove = faults.failOn("disks.remove");
  const error = await failureOf(stage.driver.spawn(smallSpec()));
  plug.remove();
  expect(error?.code).toBe("FAKE_FAULT");
  expect(error?.undoErrors).toHaveLength(1);
  expect(error?.undoErrors[0]).toBeInstanceOf(UndoFailedError);
  expect((error?.undoErrors[0] as UndoFailedError).step).toBe("disk");
  return { ...stage, mend: () => remove.remove() };
}

describe("what can't be undone", () => {
  it("is attached to the error, the rest is undone, and it stays on record", async () => {
    const { world } = await failedSpawn();
    expect(world.ledger().map(({ kind }) => kind)).toEqual(["disk", "operation"]);
  });

  it("is undone by the next operation on the instance", async () => {
    const { world, driver, mend } = await failedSpawn();
    mend();
    await driver.spawn(fullSpec());
    world.assertSound();
    expect(world.ledger().filter(({ kind }) => kind === "operation")).toEqual([]);
  });

  it("keeps further operations on the instance from building on it", async () => {
    const { world, driver, mend } = await failedSpawn();
    const error = await failureOf(driver.spawn(smallSpec()));
    expect(error?.code).toBe("CLEANUP_INCOMPLETE");
    expect(error?.retryable).toBe(true);
    expect(error?.undoErrors).toHaveLength(1);
    await driver.spawn(
      smallSpec({ uuid: "99999999-2222-4333-8444-555555555555", name: "other", blockDevices: [], vifs: [] }),
    );
    mend();
    await driver.spawn(smallSpec());
    world.assertSound();
  });

  it("is undone by destroy, which says so when it can't", async () => {
    const { world, driver, mend } = await failedSpawn();
    const error = await failureOf(driver.destroy(instance));
    expect(error?.code).toBe("CLEANUP_INCOMPLETE");
    mend();
    await driver.destroy(instance);
    expect(world.ledger()).toEqual([]);
  });

  it("is undone by the next initHost, which reports what it did", async () => {
    const { world, driver, mend } = await failedSpawn();
    const stillBroken = driver.restart();
    const first = await stillBroken.initHost();
    expect(first.operations).toMatchObject([{ kind: "spawn", instance, outcome: "failed" }]);
    expect(first.operations[0]?.errors).toHaveLength(1);
    mend();
    const mended = stillBroken.restart();
    const second = await mended.initHost();
    expect(second.operations).toMatchObject([{ kind: "spawn", instance, outcome: "undone", errors: [] }]);
    expect(world.ledger()).toEqual([]);
  });

  it("is undone by a repeated initHost of the same driver", async () => {
    const { world, driver, mend } = await failedSpawn();
    mend();
    const report = await driver.initHost();
    expect(report.operations).toMatchObject([{ kind: "spawn", outcome: "undone" }]);
    expect(world.ledger()).toEqual([]);
    await driver.spawn(smallSpec());
  });
});

describe("undoing that takes too long", () => {
  it("gives the caller its error in time, goes on, and holds the instance until it has ended", async () => {
    const { world, driver } = await openStage();
    const plug = driver.faults.failOn("vifs.plug");
    const remove = driver.faults.hang("disks.remove", { ignoreAbort: true });
    const error = await failureOf(driver.spawn(smallSpec()));
    expect(error?.code).toBe("FAKE_FAULT");
    expect(error?.undoErrors).toMatchObject([{ code: "DEADLINE_EXCEEDED" }]);
    plug.remove();
    const waiting = await failureOf(driver.spawn(smallSpec(), { deadline: 1_000 }));
    expect(waiting?.code).toBe("DEADLINE_EXCEEDED");
    remove.remove();
    await driver.spawn(smallSpec());
    world.assertSound();
  });

  it("waits for an effect that does not heed the abort before it undoes it", async () => {
    const { world, driver } = await openStage();
    const create = driver.faults.hang("disks.create", { at: "partial", ignoreAbort: true });
    const controller = new AbortController();
    const spawning = failureOf(driver.spawn(smallSpec(), { signal: controller.signal }));
    await create.reached;
    controller.abort();
    const error = await spawning;
    expect(error?.code).toBe("ABORTED");
    expect(error?.undoErrors).toMatchObject([{ code: "DEADLINE_EXCEEDED" }]);
    create.remove();
    await driver.destroy(instance);
    expect(world.ledger()).toEqual([]);
  });
});

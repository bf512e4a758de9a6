import { describe, expect, it } from "vitest";
import { faultCases } from "../../../src/fake/index.js";
import type { LedgerEntry } from "../../../src/fake/index.js";
import { arrange, disagreements, dryRun, failureOf, SCENARIOS, worldOf } from "./support/scenarios.js";
import type { Scenario, Stage, World } from "./support/scenarios.js";

const isDisk = (entry: LedgerEntry): boolean => entry.kind === "disk";

/** Calls again: ends where a call that never failed ends, whatever the first has left. A spawn that was completed says so. */
async function callAgain(scenario: Scenario, stage: Stage, end: World, label: string): Promise<void> {
  const error = await failureOf(scenario.act(stage));
  if (error !== undefined) expect(error.code, label).toBe("INSTANCE_EXISTS");
  expect(worldOf(stage), label).toEqual(end);
  stage.world.assertSound({ ignore: isDisk });
}

describe.each(SCENARIOS)("$name", (scenario) => {
  it("leaves what the next call completes, wherever something fails", async () => {
    const { passed, end } = await dryRun(scenario);
    for (const { point, nth, at } of faultCases(passed)) {
      const stage = await arrange(scenario);
      const before = worldOf(stage);
      const label = `${point} #${nth} ${at}`;
      const fault = stage.driver.faults.failOn(point, { nth, at });
      const error = await failureOf(scenario.act(stage));
      fault.remove();
      if (error !== undefined) expect(error.instance?.uuid, label).toBe(stage.instance.uuid);
      if (error !== undefined && scenario.failure === "undone") expect(worldOf(stage), label).toEqual(before);
      if (error !== undefined && scenario.failure === "undone") expect(error.undoErrors, label).toEqual([]);
      if (error === undefined) expect(worldOf(stage), label).toEqual(end);
      expect(disagreements(stage), label).toEqual([]);
      await callAgain(scenario, stage, end, label);
      await stage.driver.close();
    }
  });

  it("is undone or finished by the next process, wherever the first one dies", async () => {
    const { passed, end } = await dryRun(scenario);
    for (const { point, nth, at } of faultCases(passed)) {
      const stage = await arrange(scenario);
      const before = worldOf(stage);
      const label = `${point} #${nth} ${at}`;
      stage.driver.faults.crash(point, { nth, at });
      await failureOf(scenario.act(stage));
      stage.driver.faults.clear();
      const driver = stage.driver.restart();
      const { operations } = await driver.initHost();
      expect(
        operations.flatMap(({ errors }) => errors),
        label,
      ).toEqual([]);
      expect(
        stage.world.ledger().filter(({ kind }) => kind === "operation"),
        label,
      ).toEqual([]);
      if (scenario.failure === "undone") expect([before, end], label).toContainEqual(worldOf(stage));
      expect(disagreements(stage), label).toEqual([]);
      await callAgain(scenario, { ...stage, driver }, end, label);
      await driver.close();
    }
  });
});

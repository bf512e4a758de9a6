import { describe, expect, it } from "vitest";
import { faultCases } from "../../../src/fake/index.js";
import { arrange, dryRun, failureOf, worldOf } from "./support/scenarios.js";
import { REDEFINITION_SCENARIOS } from "./support/redefinition-scenarios.js";
import type { Scenario, Stage, World } from "./support/scenarios.js";

/** What a repeated call says when the first one got to its end after all. */
const DONE_ALREADY = new Set(["INVALID_STATE", "CONFLICT", "DISK_NOT_FOUND", "RESIZE_FAILED"]);
async function callAgain(scenario: Scenario, stage: Stage, end: World, label: string): Promise<void> {
  const error = await failureOf(scenario.act(stage));
  if (error !== undefined) expect(DONE_ALREADY, `${label}: ${error.message}`).toContain(error.code);
  expect(comparable(worldOf(stage)), label).toEqual(comparable(end));
  stage.world.assertSound();
}
function comparable(world: World): unknown {
  return JSON.parse(JSON.stringify(world, (key, value: unknown) => (key === "ticket" ? "ticket" : value)));
}

describe.each(REDEFINITION_SCENARIOS)("$name", (scenario) => {
  it("leaves what the next call completes, wherever something fails", async () => {
    const { passed, end } = await dryRun(scenario);
    for (const { point, nth, at } of faultCases(passed)) {
      const stage = await arrange(scenario);
      const before = worldOf(stage);
      const label = `${point} #${nth} ${at}`;
      const fault = stage.driver.faults.failOn(point, { nth, at });
      const error = await failureOf(scenario.act(stage));
      fault.remove();
      if (error !== undefined && scenario.failure === "undone") expect(worldOf(stage), label).toEqual(before);
      if (error !== undefined && scenario.failure === "undone") expect(error.undoErrors, label).toEqual([]);
      if (error !== undefined) await callAgain(scenario, stage, end, label);
      else expect(comparable(worldOf(stage)), label).toEqual(comparable(end));
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
      if (scenario.failure === "undone")
        expect([comparable(before), comparable(end)], label).toContainEqual(comparable(worldOf(stage)));
      await callAgain(scenario, { ...stage, driver }, end, label);
      await driver.close();
    }
  });
});

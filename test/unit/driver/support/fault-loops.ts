/** Runs scenarios once for every effect that they have on the host: with a fault there, and with the process killed there. */
import { describe, expect, it } from "vitest";
import { faultCases } from "../../../../src/fake/index.js";
import type { LedgerEntry } from "../../../../src/fake/index.js";
import { arrange, disagreements, dryRun, failureOf, worldOf } from "./scenarios.js";
import type { Scenario, Stage, World } from "./scenarios.js";

export interface FaultLoopOptions {
  /** What a repeated call says when the first one got to its end after all. */
  readonly doneAlready: ReadonlySet<string>;
  /** What may have no owner, since it is kept for a later call. */
  readonly keeps?: (entry: LedgerEntry) => boolean;
}

export function describeFaultLoops(
  scenarios: readonly Scenario[],
  { doneAlready, keeps = () => false }: FaultLoopOptions,
): void {
  /** Calls again: ends where a call that never failed ends, whatever the first has left. */
  async function callAgain(scenario: Scenario, stage: Stage, end: World, label: string): Promise<void> {
    const error = await failureOf(scenario.act(stage));
    if (error !== undefined) expect(doneAlready, `${label}: ${error.message}`).toContain(error.code);
    expect(comparable(worldOf(stage)), label).toEqual(comparable(end));
    stage.world.assertSound({ ignore: keeps });
  }

  describe.each(scenarios)("$name", (scenario) => {
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
        if (error === undefined) expect(comparable(worldOf(stage)), label).toEqual(comparable(end));
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
        const failures = operations.flatMap(({ errors }) => errors);
        expect(failures, label).toEqual([]);
        const pending = stage.world.ledger().filter(({ kind }) => kind === "operation");
        expect(pending, label).toEqual([]);
        const ends = [comparable(before), comparable(end)];
        if (scenario.failure === "undone") expect(ends, label).toContainEqual(comparable(worldOf(stage)));
        expect(disagreements(stage), label).toEqual([]);
        await callAgain(scenario, { ...stage, driver }, end, label);
        await driver.close();
      }
    });
  });
}

/** Tickets of resizes have ids of their own, made anew by each run. */
function comparable(world: World): unknown {
  return JSON.parse(JSON.stringify(world, (key, value: unknown) => (key === "ticket" ? "ticket" : value)));
}

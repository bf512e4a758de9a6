/** Runs scenarios once for every effect that they have on the host: with a fault there, and with the process killed there. */
import { describe, expect, it } from "vitest";
import { faultCases } from "../../../../src/fake/index.js";
import type { LedgerEntry } from "../../../../src/fake/index.js";
import { arrange, disagreements, dryRun, failureOf, worldOf } from "./scenarios.js";
import type { Scenario, Stage } from "./scenarios.js";

/** Some eighty runs, each of milliseconds; a machine with other work may take much longer. */
const LOOP_MS = 90_000;

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
  async function callAgain(scenario: Scenario, stage: Stage, end: string, label: string): Promise<void> {
    const error = await failureOf(scenario.act(stage));
    if (error !== undefined && !doneAlready.has(error.code)) expect.fail(`${label}: ${error.message}`);
    expectSame(comparable(textOf(stage)), comparable(end), label);
    stage.world.assertSound({ ignore: keeps });
  }

  describe.each(scenarios)("$name", (scenario) => {
    it("leaves what the next call completes, wherever something fails", { timeout: LOOP_MS }, async () => {
      const { passed, end: endWorld } = await dryRun(scenario);
      const end = JSON.stringify(endWorld);
      for (const { point, nth, at } of faultCases(passed)) {
        const stage = await arrange(scenario);
        const before = textOf(stage);
        const label = `${point} #${nth} ${at}`;
        const fault = stage.driver.faults.failOn(point, { nth, at });
        const error = await failureOf(scenario.act(stage));
        fault.remove();
        if (error !== undefined) expect(error.instance?.uuid, label).toBe(stage.instance.uuid);
        if (error !== undefined && scenario.failure === "undone") expectSame(textOf(stage), before, label);
        if (error !== undefined && scenario.failure === "undone") expect(error.undoErrors, label).toEqual([]);
        if (error === undefined) expectSame(comparable(textOf(stage)), comparable(end), label);
        expect(disagreements(stage), label).toEqual([]);
        await callAgain(scenario, stage, end, label);
        await stage.driver.close();
      }
    });

    it("is undone or finished by the next process, wherever the first one dies", { timeout: LOOP_MS }, async () => {
      const { passed, end: endWorld } = await dryRun(scenario);
      const end = JSON.stringify(endWorld);
      const seen = new Set<string>();
      for (const { point, nth, at } of faultCases(passed)) {
        const stage = await arrange(scenario);
        const before = textOf(stage);
        const label = `${point} #${nth} ${at}`;
        stage.driver.faults.crash(point, { nth, at });
        await failureOf(scenario.act(stage));
        stage.driver.faults.clear();
        // Dying behind one effect and dying before the next leave the same: the next process need not come twice.
        const left = remains(stage);
        if (seen.has(left)) continue;
        seen.add(left);
        const driver = stage.driver.restart();
        const { operations } = await driver.initHost();
        const failures = operations.flatMap(({ errors }) => errors);
        expect(failures, label).toEqual([]);
        const pending = stage.world.ledger().filter(({ kind }) => kind === "operation");
        expect(pending, label).toEqual([]);
        if (scenario.failure === "undone") expectOneOf(comparable(textOf(stage)), [before, end].map(comparable), label);
        expect(disagreements(stage), label).toEqual([]);
        await callAgain(scenario, { ...stage, driver }, end, label);
        await driver.close();
      }
    });
  });
}

function textOf(stage: Stage): string {
  return JSON.stringify(worldOf(stage));
}

/** Tickets of resizes have ids of their own, made anew by each run. */
function comparable(text: string): string {
  if (!text.includes('"ticket":')) return text;
  return JSON.stringify(JSON.parse(text, (key, value: unknown) => (key === "ticket" ? "ticket" : value)));
}

/** As `toEqual`, of JSON texts: nearly all are the same to the letter. */
function expectSame(text: string, expected: string, label: string): void {
  if (text !== expected) expect(JSON.parse(text), label).toEqual(JSON.parse(expected));
}

function expectOneOf(text: string, expected: readonly string[], label: string): void {
  if (expected.includes(text)) return;
  expect(
    expected.map((one) => JSON.parse(one) as unknown),
    label,
  ).toContainEqual(JSON.parse(text));
}

/** All that is left of the world, as text: without the ids that operations have drawn. */
function remains({ world }: Stage): string {
  const text = JSON.stringify(world.snapshot());
  const ids = new Set(Array.from(text.matchAll(/"operations\/([^"]+)"/g), ([, id = ""]) => id));
  return [...ids].reduce((rest, id, at) => rest.replaceAll(id, `operation ${at}`), text);
}

import { describe, expect, it } from "vitest";
import type { OperationOptions } from "../../../src/core/index.js";
import type { PassedPoint } from "../../../src/fake/index.js";
import { HARDWARE_SCENARIOS } from "./support/hardware-scenarios.js";
import { arrange, disagreements, dryRun, failureOf, idle, instance, SCENARIOS, worldOf } from "./support/scenarios.js";
import type { Scenario, World } from "./support/scenarios.js";

/** What went wrong after the point of no return, when an abort has no say any more. */
function afterTheFact({ failure }: Scenario): readonly string[] {
  return failure === "forward" ? ["GUEST_STUCK"] : [];
}

/** Stops the operation while it hangs at a place, then lets the place go on. */
async function stopAt(
  scenario: Scenario,
  { point, nth }: PassedPoint,
  end: World,
  code: string,
  stop: () => { readonly options: OperationOptions; readonly fire: () => void },
): Promise<void> {
  const label = `${point} #${nth}`;
  const stage = await arrange(scenario);
  const before = worldOf(stage);
  const { options, fire } = stop();
  const fault = stage.driver.faults.hang(point, { nth });
  const acting = failureOf(scenario.act(stage, options));
  await fault.reached;
  fire();
  const error = await acting;
  fault.remove();
  await idle(stage);
  if (error !== undefined) expect([code, ...afterTheFact(scenario)], label).toContain(error.code);
  if (error !== undefined) expect(error.instance?.uuid, label).toBe(instance.uuid);
  if (scenario.failure === "undone") expect([before, end], label).toContainEqual(worldOf(stage));
  if (error !== undefined && error.undoErrors.length === 0 && scenario.failure === "undone")
    expect(worldOf(stage), label).toEqual(before);
  expect(disagreements(stage), label).toEqual([]);
  const again = await failureOf(scenario.act(stage));
  if (again !== undefined) expect(["INSTANCE_EXISTS", "CONFLICT"], label).toContain(again.code);
  expect(worldOf(stage), label).toEqual(end);
  await stage.driver.close();
}

/** `unplugVifs` takes no options: nothing can stop it. */
const STOPPABLE = [...SCENARIOS, ...HARDWARE_SCENARIOS].filter(({ name }) => name !== "unplugVifs");

describe.each(STOPPABLE)("$name", (scenario) => {
  it("ends as if never begun, or finished, wherever it is aborted", async () => {
    const { passed, end } = await dryRun(scenario);
    for (const place of passed) {
      const reason = new Error("no longer wanted");
      await stopAt(scenario, place, end, "ABORTED", () => {
        const controller = new AbortController();
        return { options: { signal: controller.signal }, fire: () => controller.abort(reason) };
      });
    }
  });

  it("ends as if never begun, or finished, wherever its deadline comes", async () => {
    const { passed, end } = await dryRun(scenario);
    for (const place of passed.filter(({ point }) => !point.startsWith("state."))) {
      await stopAt(scenario, place, end, "DEADLINE_EXCEEDED", () => ({
        options: { deadline: 5_000 },
        fire: () => undefined,
      }));
    }
  });

  it("does nothing at all when it is aborted before it begins", async () => {
    const stage = await arrange(scenario);
    const before = worldOf(stage);
    const trace = stage.driver.faults.startTrace();
    const error = await failureOf(scenario.act(stage, { signal: AbortSignal.abort("early") }));
    expect(error?.code).toBe("ABORTED");
    expect(error?.cause).toBe("early");
    expect(trace.passed.filter(({ point }) => !point.startsWith("driver."))).toEqual([]);
    expect(worldOf(stage)).toEqual(before);
  });
});

describe("after its point of no return", () => {
  it.each([
    ["destroy", "guest.kill"],
    ["destroy", "vifs.unplug"],
    ["powerOff of a guest that is deaf", "guest.kill"],
    ["hard reboot", "volumes.connect"],
    ["hard reboot", "guest.start"],
    ["detachVolume", "volumes.disconnect"],
    ["detachInterface", "vifs.unplug"],
  ] as const)("%s at %s goes on in spite of an abort, and succeeds", async (name, point) => {
    const scenario = SCENARIOS.find((candidate) => candidate.name === name);
    if (scenario === undefined) throw new Error(`no scenario ${name}`);
    const { end } = await dryRun(scenario);
    const stage = await arrange(scenario);
    const controller = new AbortController();
    const slow = stage.driver.faults.slow(point, 1_000);
    const acting = scenario.act(stage, { signal: controller.signal });
    await slow.reached;
    controller.abort();
    await acting;
    expect(worldOf(stage)).toEqual(end);
  });
});

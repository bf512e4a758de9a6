import { describe, expect, it } from "vitest";
import { FakeDriver } from "../../../src/fake/index.js";
import { arrange, dryRun, failureOf, instance, openStage, SCENARIOS, worldOf } from "./support/scenarios.js";
import { smallSpec } from "./support/specs.js";

describe("close", () => {
  it("lets guests run on, and may be repeated", async () => {
    const { driver, world } = await openStage();
    await driver.spawn(smallSpec());
    await Promise.all([driver.close(), driver.close()]);
    await driver.close();
    await driver[Symbol.asyncDispose]();
    expect(world.guest(instance.uuid).state).toBe("running");
  });

  it("before initHost closes nothing but the driver", async () => {
    const driver = new FakeDriver();
    const trace = driver.faults.startTrace();
    await driver.close();
    expect(trace.passed).toEqual([]);
    expect((await failureOf(driver.initHost()))?.code).toBe("CLOSED");
    expect(() => driver.events()).toThrow(expect.objectContaining({ code: "CLOSED" }) as Error);
  });

  it("leaves no timer behind", async () => {
    const { driver, world } = await openStage();
    await driver.spawn(smallSpec());
    await driver.powerOff(instance);
    await driver.close();
    expect((world.clock as unknown as { readonly pending: number }).pending).toBe(0);
  });

  it.each(SCENARIOS)("ends $name with ClosedError, undone or finished", async (scenario) => {
    const { passed, end } = await dryRun(scenario);
    for (const { point, nth } of passed.filter(({ point }) => !point.startsWith("state."))) {
      const label = `${point} #${nth}`;
      const stage = await arrange(scenario);
      const before = worldOf(stage);
      const fault = stage.driver.faults.hang(point, { nth });
      const acting = failureOf(scenario.act(stage));
      await fault.reached;
      const closing = stage.driver.close();
      const error = await acting;
      fault.remove();
      await closing;
      if (error !== undefined) expect(["CLOSED", "GUEST_STUCK"], label).toContain(error.code);
      if (error?.code === "CLOSED" && error.undoErrors.length === 0 && scenario.failure === "undone") {
        expect(worldOf(stage), label).toEqual(before);
      }
      const next = { ...stage, driver: stage.driver.restart() };
      await next.driver.initHost();
      const again = await failureOf(scenario.act(next));
      if (again !== undefined) expect(again.code, label).toBe("INSTANCE_EXISTS");
      expect(worldOf(next), label).toEqual(end);
    }
  });

  it("ends operations that wait for their turn at once", async () => {
    const { driver } = await openStage();
    await driver.spawn(smallSpec());
    const pause = driver.faults.hang("guest.pause");
    const running = failureOf(driver.pause(instance));
    const waiting = failureOf(driver.unpause(instance));
    await pause.reached;
    await driver.close();
    expect((await running)?.code).toBe("CLOSED");
    expect((await waiting)?.code).toBe("CLOSED");
  });

  it("does not wait for ever for what does not stop", async () => {
    const { driver } = await openStage();
    await driver.spawn(smallSpec());
    const pause = driver.faults.hang("guest.pause", { ignoreAbort: true });
    const running = failureOf(driver.pause(instance));
    await pause.reached;
    await driver.close();
    expect((await running)?.code).toBe("CLOSED");
  });

  it("thaws what was frozen", async () => {
    const { driver, world } = await openStage();
    await driver.spawn(smallSpec());
    await driver.quiesce(instance);
    expect(world.guest(instance.uuid).frozen).toBe(true);
    await driver.close();
    expect(world.guest(instance.uuid).frozen).toBe(false);
  });

  it("is made up for, when the process has died: the next one thaws what it had frozen", async () => {
    const { driver, world } = await openStage();
    await driver.spawn(smallSpec());
    for (const _again of [1, 2]) await driver.quiesce(instance);
    const next = driver.restart();
    expect(world.guest(instance.uuid).frozen).toBe(true);
    await next.initHost();
    expect(world.guest(instance.uuid).frozen).toBe(false);
    await next.quiesce(instance);
    await next.unquiesce(instance);
    const { operations } = await next.restart().initHost();
    expect(operations).toEqual([]);
  });

  it("happens at the end of await using", async () => {
    const { driver } = await openStage();
    {
      await using scoped = driver;
      await scoped.spawn(smallSpec());
    }
    expect((await failureOf(driver.listInstances()))?.code).toBe("CLOSED");
  });
});

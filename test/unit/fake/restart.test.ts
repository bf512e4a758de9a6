import { describe, expect, it } from "vitest";
import { MemoryStateStore } from "../../../src/core/index.js";
import { FakeDriver, faultCases, fakeSpec } from "../../../src/fake/index.js";

describe("a fake driver whose process dies", () => {
  it("leaves its guests running, and the next process finds them", async () => {
    const driver = new FakeDriver();
    await driver.initHost();
    const [kept, crashed, paused] = [fakeSpec(), fakeSpec(), fakeSpec()];
    for (const spec of [kept, crashed, paused]) await driver.spawn(spec);
    await driver.pause(paused);
    driver.crash();
    expect(driver.crashed).toBe(true);
    driver.world.crashGuest(crashed.uuid);
    const again = driver.world.restartDriver(driver);
    const report = await again.initHost();
    expect(report.adopted.map(({ uuid }) => uuid).sort()).toEqual([kept.uuid, paused.uuid].sort());
    expect(report.lost.map(({ uuid }) => uuid)).toEqual([crashed.uuid]);
    expect((await again.getInfo(paused)).state).toBe("paused");
    await again.unpause(paused);
    for (const spec of [kept, crashed, paused]) await again.destroy(spec);
    expect(again.world.ledger()).toEqual([]);
    await again.close();
  });

  it("rejects what it had under way, and does nothing more to the world", async () => {
    const driver = new FakeDriver();
    await driver.initHost();
    const spec = fakeSpec();
    const events = driver.events();
    const fault = driver.faults.hang("guest.start", { at: "after" });
    const spawning = driver.spawn(spec);
    await fault.reached;
    const before = driver.world.ledger();
    driver.crash();
    await expect(spawning).rejects.toThrow();
    await expect(driver.getNumInstances()).rejects.toMatchObject({ code: "FAKE_PROCESS_CRASHED" });
    await expect(driver.destroy(spec)).rejects.toMatchObject({ code: "FAKE_PROCESS_CRASHED" });
    await expect(driver.snapshot(spec, "image").result).rejects.toMatchObject({ code: "FAKE_PROCESS_CRASHED" });
    await driver.close();
    expect(driver.world.ledger()).toEqual(before);
    const types: string[] = [];
    for await (const { type } of events) types.push(type);
    expect(types).toEqual(["lifecycle", "agent"]);
    expect(before.map(({ kind }) => kind)).toContain("operation");
    driver.faults.clear();
    const again = driver.restart();
    const report = await again.initHost();
    expect(report.operations).toMatchObject([{ kind: "spawn", outcome: "undone" }]);
    expect(again.world.ledger()).toEqual([]);
    await again.close();
  });

  it("can die at any point of an attach, and the next process has it whole or not at all", async () => {
    const arrange = async () => {
      const driver = new FakeDriver();
      await driver.initHost();
      const spec = driver.world.spec();
      await driver.spawn(spec);
      return { driver, spec, volume: driver.world.volumes.create() };
    };
    const dry = await arrange();
    const trace = dry.driver.faults.startTrace();
    await dry.driver.attachVolume(dry.spec, dry.volume);
    trace.stop();
    for (const { point, nth, at } of faultCases(trace.passed)) {
      const { driver, spec, volume } = await arrange();
      driver.faults.crash(point, { nth, at });
      await expect(driver.attachVolume(spec, volume), `${point} ${at}`).rejects.toThrow();
      expect(driver.crashed).toBe(true);
      driver.faults.clear();
      const again = driver.restart();
      await again.initHost();
      again.world.assertSound();
      await again.attachVolume(spec, volume);
      await again.detachVolume(spec, volume);
      await again.destroy(spec);
      expect(again.world.ledger(), `${point} ${at}`).toEqual([]);
      await again.close();
    }
  });

  it("may also die of a fault, or because its world goes back to what it was", async () => {
    const driver = new FakeDriver();
    await driver.initHost();
    const snapshot = driver.world.snapshot();
    const events = driver.events();
    driver.faults.crash("guest.start");
    await expect(driver.spawn(fakeSpec())).rejects.toThrow();
    expect(driver.crashed).toBe(true);
    expect(await events.next()).toMatchObject({ done: true });
    driver.faults.clear();
    const again = driver.restart();
    await again.initHost();
    const later = again.events();
    again.world.restore(snapshot);
    expect(again.crashed).toBe(true);
    expect(await later.next()).toMatchObject({ done: true });
    await again[Symbol.asyncDispose]();
  });

  it("keeps to the state store that the embedder has brought", async () => {
    const state = new MemoryStateStore();
    const driver = new FakeDriver({ state });
    await driver.initHost();
    const spec = fakeSpec();
    await driver.spawn(spec);
    const again = driver.restart();
    expect((await again.initHost()).adopted).toEqual([{ uuid: spec.uuid, name: spec.name }]);
    expect(state.size).toBeGreaterThan(0);
    await again.close();
  });

  it("has its host to itself", async () => {
    const driver = new FakeDriver();
    await driver.initHost();
    const second = new FakeDriver({ world: driver.world });
    await expect(second.initHost()).rejects.toThrow();
    await driver.close();
    await second.initHost();
    await second.close();
  });
});

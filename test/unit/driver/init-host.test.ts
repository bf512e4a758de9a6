import { describe, expect, it } from "vitest";
import { StateCorruptError } from "../../../src/core/index.js";
import { FakeDriver, FakeWorld } from "../../../src/fake/index.js";
import { failureOf, instance, openStage, worldOf } from "./support/scenarios.js";
import { connection, OTHER_UUID, smallSpec } from "./support/specs.js";

const EMPTY = { adopted: [], lost: [], orphans: [], degraded: [], operations: [] };

describe("initHost", () => {
  it("on an empty host finds nothing, and may be repeated", async () => {
    const driver = new FakeDriver();
    expect(await driver.initHost()).toEqual(EMPTY);
    expect(await driver.initHost()).toEqual(EMPTY);
    expect(await Promise.all([driver.initHost(), driver.initHost()])).toEqual([EMPTY, EMPTY]);
  });

  it("adopts the guests that a former process left running, with all that it knew of them", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec({ metadata: { owner: "tests" } }));
    await stage.driver.attachVolume(instance, connection("vol-3"));
    const [spec, disks, before] = [
      await stage.driver.getSpec(instance),
      await stage.driver.listDisks(instance),
      worldOf(stage),
    ];
    const driver = stage.driver.restart();
    expect(await driver.initHost()).toEqual({ ...EMPTY, adopted: [instance] });
    expect(await driver.getSpec(instance)).toEqual(spec);
    expect(await driver.listDisks(instance)).toEqual(disks);
    expect(await driver.getInfo(instance)).toMatchObject({ state: "running", task: "none", busy: false });
    expect(worldOf(stage)).toEqual(before);
    await driver.destroy(instance);
    expect(stage.world.ledger()).toEqual([]);
  });

  it("tells of guests that should run and don't, and leaves stopped ones in peace", async () => {
    const stage = await openStage();
    const other = { uuid: OTHER_UUID, name: "web-2" };
    await stage.driver.spawn(smallSpec());
    await stage.driver.spawn(smallSpec({ ...other, blockDevices: [], vifs: [] }), { powerOn: false });
    stage.driver.crash();
    stage.world.crashGuest(instance.uuid);
    const driver = stage.driver.restart();
    const events = driver.events();
    expect(await driver.initHost()).toEqual({ ...EMPTY, lost: [instance] });
    expect((await events.next()).value).toMatchObject({
      type: "lifecycle",
      instance,
      transition: "crashed",
      cause: "crash",
    });
    await driver.resumeStateOnHostBoot(instance);
    expect(await driver.getInfo(instance)).toMatchObject({ state: "running" });
    expect(await driver.getInfo(other)).toMatchObject({ state: "shutdown" });
  });

  it("brings an instance back whose guest is gone altogether", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    stage.driver.crash();
    stage.world.removeGuest(instance.uuid);
    const driver = stage.driver.restart();
    expect(await driver.initHost()).toEqual({ ...EMPTY, lost: [instance] });
    await driver.reboot(instance, "hard");
    expect(await driver.getInfo(instance)).toMatchObject({ state: "running" });
    stage.world.assertSound();
  });

  it("puts up ports and filters of a running guest that somebody took down", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    const before = worldOf(stage);
    stage.driver.crash();
    stage.driver.host.filters.clear();
    const driver = stage.driver.restart();
    expect(await driver.initHost()).toEqual({ ...EMPTY, adopted: [instance] });
    expect(worldOf(stage)).toEqual(before);
  });

  it("says what it could not put up again, and goes on", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    const driver = stage.driver.restart();
    driver.faults.failOn("vifs.plug");
    const report = await driver.initHost();
    expect(report.adopted).toEqual([instance]);
    expect(report.degraded).toMatchObject([{ instance, errors: [{ code: "FAKE_FAULT" }] }]);
  });

  it("leaves guests alone that no record knows, and tells of them", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    stage.driver.crash();
    for (const key of [...stage.driver.host.state.keys()]) stage.driver.host.state.delete(key);
    const driver = stage.driver.restart();
    expect(await driver.initHost()).toEqual({ ...EMPTY, orphans: [instance] });
    expect(await driver.listInstances()).toEqual([]);
    expect(await failureOf(driver.getInfo(instance))).toMatchObject({ code: "INSTANCE_NOT_FOUND" });
    expect(await failureOf(driver.spawn(smallSpec()))).toMatchObject({ code: "INSTANCE_EXISTS" });
    await driver.destroy(instance);
    expect(await driver.initHost()).toEqual(EMPTY);
  });

  it("rejects when the hypervisor can't be reached, and succeeds when it can", async () => {
    const driver = new FakeDriver();
    const down = driver.faults.failOn("hypervisor.open");
    expect((await failureOf(driver.initHost()))?.code).toBe("FAKE_FAULT");
    expect((await failureOf(driver.listInstances()))?.code).toBe("NOT_INITIALIZED");
    down.remove();
    expect(await driver.initHost()).toEqual(EMPTY);
  });

  it("is bounded, abortable, and ended by close", async () => {
    const driver = new FakeDriver();
    const hung = driver.faults.hang("hypervisor.open");
    expect((await failureOf(driver.initHost()))?.code).toBe("DEADLINE_EXCEEDED");
    expect((await failureOf(driver.initHost({ deadline: 10 })))?.code).toBe("DEADLINE_EXCEEDED");
    expect((await failureOf(driver.initHost({ signal: AbortSignal.abort() })))?.code).toBe("ABORTED");
    const opening = failureOf(driver.initHost());
    await hung.reached;
    await driver.close();
    expect((await opening)?.code).toBe("CLOSED");
    expect((await failureOf(driver.initHost()))?.code).toBe("CLOSED");
  });

  it("refuses records that it can't read, and names them", async () => {
    for (const json of [
      "{}",
      "7",
      '{"version":2}',
      `{"version":1,"uuid":"${instance.uuid}","name":"x","spec":{},"disks":[],"volumes":[]}`,
    ]) {
      const world = new FakeWorld();
      const driver = new FakeDriver({ world });
      driver.host.state.set(`instances/${instance.uuid}`, json);
      const error = await failureOf(driver.initHost());
      expect(error).toBeInstanceOf(StateCorruptError);
      expect(error?.detail).toContain(instance.uuid);
    }
  });

  it("reports a journal record that it can't read, without touching it", async () => {
    const driver = new FakeDriver();
    driver.host.state.set("operations/broken", '{"version":99}');
    const report = await driver.initHost();
    expect(report.operations).toMatchObject([{ id: "broken", outcome: "failed", errors: [{ code: "STATE_CORRUPT" }] }]);
    expect(driver.host.state.has("operations/broken")).toBe(true);
  });

  it("leaves operations under way alone when it is repeated", async () => {
    const { driver, world } = await openStage();
    const start = driver.faults.hang("guest.start");
    const spawning = driver.spawn(smallSpec());
    await start.reached;
    expect(await driver.initHost()).toEqual(EMPTY);
    start.remove();
    await spawning;
    world.assertSound();
    expect(await driver.initHost()).toEqual({ ...EMPTY, adopted: [instance] });
  });
});

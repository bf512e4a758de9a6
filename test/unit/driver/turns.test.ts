import { describe, expect, it } from "vitest";
import { failureOf, instance, openStage } from "./support/scenarios.js";
import { connection, OTHER_UUID, smallSpec } from "./support/specs.js";

const other = { uuid: OTHER_UUID, name: "web-2" };
const otherSpec = smallSpec({ ...other, blockDevices: [], vifs: [] });

describe("operations on one instance", () => {
  it("run one at a time, in the order of the calls", async () => {
    const { driver } = await openStage();
    const order: string[] = [];
    const note = (name: string) => () => void order.push(name);
    const start = driver.faults.hang("guest.start");
    const all = [
      driver.spawn(smallSpec()).then(note("spawn")),
      driver.pause(instance).then(note("pause")),
      driver.unpause(instance).then(note("unpause")),
      driver.attachVolume(instance, connection("vol-3")).then(note("attach")),
      driver.destroy(instance).then(note("destroy")),
    ];
    await start.reached;
    expect(order).toEqual([]);
    start.remove();
    await Promise.all(all);
    expect(order).toEqual(["spawn", "pause", "unpause", "attach", "destroy"]);
  });

  it("don't hold up those on another, nor reads of either", async () => {
    const { driver } = await openStage();
    await driver.spawn(smallSpec());
    const pause = driver.faults.hang("guest.pause", { when: ({ instanceUuid }) => instanceUuid === instance.uuid });
    const pausing = driver.pause(instance);
    await pause.reached;
    await driver.spawn(otherSpec);
    await driver.pause(other);
    expect(await driver.getInfo(instance)).toMatchObject({ state: "running", busy: true });
    expect(await driver.getInfo(other)).toMatchObject({ state: "paused", busy: false });
    expect(await driver.listInstances()).toHaveLength(2);
    pause.remove();
    await pausing;
    expect(await driver.getInfo(instance)).toMatchObject({ state: "paused", busy: false });
  });

  it("may be given up while they wait, without a trace", async () => {
    const { driver, world } = await openStage();
    await driver.spawn(smallSpec());
    const pause = driver.faults.hang("guest.pause");
    const pausing = driver.pause(instance);
    await pause.reached;
    const controller = new AbortController();
    const destroying = failureOf(driver.destroy(instance, { signal: controller.signal }));
    const late = failureOf(driver.powerOff(instance, { deadline: 10 }));
    const next = driver.unpause(instance);
    controller.abort();
    expect((await destroying)?.code).toBe("ABORTED");
    expect((await late)?.code).toBe("DEADLINE_EXCEEDED");
    pause.remove();
    await pausing;
    await next;
    expect(await driver.getInfo(instance)).toMatchObject({ state: "running" });
    world.assertSound();
  });

  it("don't wait for ever, even when the caller would", async () => {
    const { driver } = await openStage();
    await driver.spawn(smallSpec());
    const pause = driver.faults.hang("guest.pause", { ignoreAbort: true });
    const pausing = failureOf(driver.pause(instance));
    await pause.reached;
    const error = await failureOf(driver.unpause(instance));
    expect(error).toMatchObject({ code: "DEADLINE_EXCEEDED", retryable: true, instance });
    pause.remove();
    await pausing;
  });

  it("of two spawns of one instance, one wins", async () => {
    const { driver, world } = await openStage();
    const results = await Promise.allSettled([driver.spawn(smallSpec()), driver.spawn(smallSpec())]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(results[1]).toMatchObject({ reason: { code: "INSTANCE_EXISTS" } });
    world.assertSound();
  });

  it("of two spawns at once that want one name, one port, one MAC address or one volume, one wins", async () => {
    const { name, vifs = [], blockDevices = [] } = smallSpec();
    for (const rival of [
      { ...otherSpec, name },
      { ...otherSpec, vifs },
      { ...otherSpec, blockDevices },
    ]) {
      const { driver, world } = await openStage();
      const results = await Promise.allSettled([driver.spawn(smallSpec()), driver.spawn(rival)]);
      expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
      expect(["INSTANCE_EXISTS", "CONFLICT"]).toContain((results[1] as { reason: { code: string } }).reason.code);
      world.assertSound();
      await driver.destroy(instance);
      await driver.spawn(rival);
      world.assertSound();
    }
  });
});

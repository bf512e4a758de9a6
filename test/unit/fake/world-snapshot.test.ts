import { describe, expect, it } from "vitest";
import { Secret, VirtualClock } from "../../../src/core/index.js";
import { FakeDriver, FakeWorld } from "../../../src/fake/index.js";
import type { WorldSnapshot } from "../../../src/fake/index.js";

/** A world with something of everything in it. */
async function lively() {
  const world = new FakeWorld({
    seed: 7,
    hosts: [
      { name: "a", storage: "shared" },
      { name: "b", storage: "shared" },
    ],
  });
  const driver = new FakeDriver({ world, host: "a" });
  await driver.initHost();
  const [running, suspended, paused] = [world.spec(), world.spec(), world.spec()];
  for (const spec of [running, suspended, paused]) await driver.spawn(spec);
  await driver.attachVolume(running, world.volumes.create());
  await driver.suspend(suspended);
  await driver.pause(paused);
  await driver.setAdminPassword(running, "pw");
  await driver.getVncConsole(running);
  await driver.injectFile(running, "/f", new TextEncoder().encode("text"));
  world.guest(running.uuid).write("root", "note");
  world.images.add({ id: "odd", format: "raw" }, { corrupt: true });
  world.partition("b");
  return { world, driver, running, suspended, paused };
}

describe("a snapshot of a fake world", () => {
  it("is plain data, from which an equal world is made", async () => {
    const { world, running } = await lively();
    const snapshot = world.snapshot();
    const copy = FakeWorld.from(JSON.parse(JSON.stringify(snapshot)) as WorldSnapshot);
    expect(copy.ledger({ caches: true })).toEqual(world.ledger({ caches: true }));
    expect(copy.snapshot()).toEqual(snapshot);
    expect(copy.clock.now()).toBe(world.clock.now());
    expect(copy.checkInvariants()).toEqual([]);
    expect(copy.guest(running.uuid).read("root")).toEqual(["image:cirros", "note"]);
    expect(copy.guest(running.uuid).checkPassword("root", "pw")).toBe(true);
    expect(copy.spec()).toEqual(world.spec());
    expect(copy.images.get("odd")!.corrupt).toBe(true);
    expect(copy.reachable(copy.host("a"), copy.host("b"))).toBe(false);
  });

  it("goes back to what was, and a restarted driver finds it", async () => {
    const { world, driver, running, suspended, paused } = await lively();
    const snapshot = world.snapshot();
    const ledger = world.ledger();
    for (const spec of [running, suspended, paused]) await driver.destroy(spec);
    expect(world.ledger()).toEqual([]);
    world.restore(snapshot);
    expect(driver.crashed).toBe(true);
    expect(world.ledger()).toEqual(ledger);
    const again = driver.restart();
    const report = await again.initHost();
    expect(report.adopted).toHaveLength(2);
    await again.resume(suspended);
    expect((await again.getInfo(running)).state).toBe("running");
    for (const spec of [running, suspended, paused]) await again.destroy(spec);
    expect(world.ledger()).toEqual([]);
    await again.close();
  });

  it("is not changed by what comes after it, and can be used many times", async () => {
    const { world, driver, running } = await lively();
    const snapshot = world.snapshot();
    const text = JSON.stringify(snapshot);
    await driver.destroy(running);
    world.restore(snapshot);
    world.guest(running.uuid).write("root", "more");
    world.crashGuest(running.uuid);
    expect(JSON.stringify(snapshot)).toBe(text);
    world.restore(snapshot);
    expect(world.guest(running.uuid).read("root")).toEqual(["image:cirros", "note"]);
  });

  it("keeps what guests are about to do, as long after the restoring as it was after the snapshot", async () => {
    const clock = new VirtualClock();
    const world = new FakeWorld({ clock, hosts: [{ behaviour: { bootMs: 1000, crashAfterMs: 3000 } }] });
    const driver = new FakeDriver({ world });
    await driver.initHost();
    const spec = world.spec();
    await driver.spawn(spec);
    await clock.tick(600);
    const snapshot = world.snapshot();
    await clock.tick(10_000);
    expect(world.guest(spec.uuid).state).toBe("crashed");
    world.restore(snapshot);
    expect(world.guest(spec.uuid)).toMatchObject({ state: "running", booted: false });
    await clock.tick(399);
    expect(world.guest(spec.uuid).booted).toBe(false);
    await clock.tick(1);
    expect(world.guest(spec.uuid).booted).toBe(true);
    await clock.tick(1999);
    expect(world.guest(spec.uuid).state).toBe("running");
    await clock.tick(1);
    expect(world.guest(spec.uuid).state).toBe("crashed");
  });

  it("keeps secrets within the process, and loses them on the way through JSON", async () => {
    const world = new FakeWorld();
    world.addHost().secrets.set("key", Secret.of("value"));
    const snapshot = world.snapshot();
    expect(JSON.stringify(snapshot)).not.toContain("value");
    expect(FakeWorld.from(snapshot).host("host-1").secrets.get("key")!.reveal()).toBe("value");
    expect(FakeWorld.from(JSON.parse(JSON.stringify(snapshot)) as WorldSnapshot).host("host-1").secrets.size).toBe(0);
  });

  it("keeps that work takes no time", () => {
    const world = new FakeWorld({ hosts: [{ rates: { imageMiBps: Infinity, diskMiBps: 5 } }] });
    const copy = FakeWorld.from(JSON.parse(JSON.stringify(world.snapshot())) as WorldSnapshot);
    expect(copy.hosts[0]!.rates).toEqual({ imageMiBps: Infinity, diskMiBps: 5, migrationMiBps: 1000 });
  });

  it("of another version is refused", () => {
    const snapshot = { ...new FakeWorld().snapshot(), version: 2 } as unknown as WorldSnapshot;
    expect(() => FakeWorld.from(snapshot)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});

import { describe, expect, it } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import { FakeDriver, faultCases, FAULT_POINTS, fakeSpec } from "../../../src/fake/index.js";
import type { FaultPoint } from "../../../src/fake/index.js";
import { bench, UUID } from "./parts.js";

describe("a fault", () => {
  it("strikes the nth call, once, and the error names the instance", async () => {
    const { faults, guest } = await bench();
    const fault = faults.failOn("guest.info", { nth: 2 });
    await guest.info();
    await expect(guest.info()).rejects.toMatchObject({
      code: "FAKE_FAULT",
      point: "guest.info",
      instance: { uuid: UUID },
    });
    await guest.info();
    expect(fault.hits).toBe(1);
    await fault.reached;
  });

  it("strikes as often as asked, where asked, with the error that was given, and is taken back", async () => {
    const { faults, guest, collaborators } = await bench();
    const mine = new Error("mine");
    const fault = faults.failOn("disks.remove", { times: 2, when: ({ subject }) => subject === "swap", error: mine });
    await collaborators.disks.remove(UUID, "root");
    await expect(collaborators.disks.remove(UUID, "swap")).rejects.toBe(mine);
    await expect(collaborators.disks.remove(UUID, "swap")).rejects.toBe(mine);
    await collaborators.disks.remove(UUID, "swap");
    expect(fault.hits).toBe(2);
    const always = faults.failOn("guest.info", { error: ({ point }) => new RangeError(point) });
    await expect(guest.info()).rejects.toThrow(RangeError);
    await expect(guest.info()).rejects.toThrow(RangeError);
    always.remove();
    await guest.info();
    faults.failOn("guest.info");
    faults.clear();
    await guest.info();
  });

  it("before has no effect, partial half of it, after all of it", async () => {
    const states: string[] = [];
    for (const at of ["before", "partial", "after"] as const) {
      const { faults, collaborators, world } = await bench();
      faults.failOn("vifs.plug", { at });
      const vif = {
        type: "bridge",
        id: "port-2",
        macAddress: "52:54:00:00:00:02",
        bridge: "br0",
        network: { id: "n" },
      } as const;
      await expect(collaborators.vifs.plug(vif, UUID)).rejects.toMatchObject({ code: "FAKE_FAULT" });
      states.push(world.ledger().find(({ kind, id }) => kind === "port" && id === "port-2")?.state ?? "absent");
      await collaborators.vifs.unplug(vif, UUID);
      expect(world.ledger().filter(({ id }) => id === "port-2")).toEqual([]);
    }
    expect(states).toEqual(["absent", "partial", "tapport-2"]);
  });

  it("hangs until it is removed, or the call is aborted, or not even then", async () => {
    const { faults, guest } = await bench();
    const fault = faults.hang("guest.info", { times: 1 });
    const hanging = guest.info();
    await fault.reached;
    fault.remove();
    await hanging;
    faults.hang("guest.info", { times: 1 });
    const abort = new AbortController();
    const aborted = guest.info({ signal: abort.signal });
    abort.abort();
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    const stubborn = faults.hang("guest.info", { times: 1, ignoreAbort: true });
    const again = new AbortController();
    let settled = false;
    const deaf = guest.info({ signal: again.signal }).finally(() => (settled = true));
    await stubborn.reached;
    again.abort();
    await new Promise((resolve) => setImmediate(resolve));
    expect(settled).toBe(false);
    stubborn.remove();
    await deaf;
  });

  it("takes time on the world's clock alone", async () => {
    const clock = new VirtualClock();
    const { faults, guest } = await bench({ clock });
    faults.slow("guest.start", 5000, { at: "after" });
    const start = guest.start();
    await clock.tick(4999);
    expect((await guest.info()).state).toBe("running");
    let done = false;
    void start.then(() => (done = true));
    await clock.settle();
    expect(done).toBe(false);
    await clock.tick(1);
    await start;
  });

  it("is refused where there is no such point or stage", async () => {
    const { faults } = await bench();
    expect(() => faults.failOn("guest.fly" as FaultPoint)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field: "target" }),
    );
    expect(() => faults.failOn("guest.pause", { at: "partial" })).toThrow(expect.objectContaining({ field: "at" }));
  });
});

describe("fault points", () => {
  it("are listed, each with the stages that it has", async () => {
    const { faults } = await bench();
    const names = faults.points.map(({ point }) => point);
    expect(new Set(names).size).toBe(names.length);
    for (const point of [
      "driver.spawn",
      "hypervisor.define",
      "guest.start",
      "agent.freeze",
      "images.fetch",
      "disks.create",
    ]) {
      expect(names).toContain(point);
    }
    expect(FAULT_POINTS.get("disks.create")!.stages).toEqual(["before", "partial", "after"]);
    expect(FAULT_POINTS.get("driver.spawn")!.stages).toEqual(["before", "after"]);
    expect(FAULT_POINTS.get("driver.snapshot")!.stages).toEqual(["before"]);
  });

  it("stand for every method of the collaborators and the seams", async () => {
    const { collaborators, hypervisor, guest } = await bench();
    const { images, disks, vifs, firewall, secrets, state } = collaborators;
    const objects = {
      images,
      disks,
      vifs,
      firewall,
      secrets,
      state,
      volumes: collaborators.volumes[0]!,
      hypervisor,
      guest,
      agent: guest.agent!,
    };
    const synchronous = new Set(["constructor", "validate", "check", "plan", "filterDeferApplyOn"]);
    for (const [room, object] of Object.entries(objects)) {
      const prototype = Object.getPrototypeOf(object) as object;
      for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
        if (typeof value === "function" && !synchronous.has(name))
          expect([...FAULT_POINTS.keys()]).toContain(`${room}.${name}`);
      }
    }
  });

  it("are traced, so that a test can make each of them fail", async () => {
    const driver = new FakeDriver();
    await driver.initHost();
    const trace = driver.faults.startTrace();
    await driver.spawn(fakeSpec());
    trace.stop();
    await driver.getNumInstances();
    const points = trace.passed.map(({ point }) => point);
    expect(points[0]).toBe("driver.spawn");
    expect(points).not.toContain("driver.getNumInstances");
    const effects = [
      "images.fetch",
      "disks.create",
      "vifs.plug",
      "hypervisor.define",
      "firewall.applyInstanceFilter",
      "guest.start",
    ];
    expect(effects.map((point) => points.indexOf(point as FaultPoint))).toEqual(
      effects.map((point) => points.indexOf(point as FaultPoint)).sort((x, y) => x - y),
    );
    const cases = faultCases(trace.passed);
    expect(cases.length).toBeGreaterThan(2 * points.length);
    expect(cases).toContainEqual({ point: "disks.create", nth: 1, at: "partial" });
    await driver.close();
  });
});

describe("a spawn that fails", () => {
  it("leaves the ledger as it was, wherever it fails, and succeeds when called again", async () => {
    const dry = new FakeDriver();
    await dry.initHost();
    const trace = dry.faults.startTrace();
    await dry.spawn(fakeSpec());
    await dry.close();
    for (const { point, nth, at } of faultCases(trace.passed)) {
      const driver = new FakeDriver();
      await driver.initHost();
      const spec = driver.world.spec();
      const before = driver.world.ledger();
      const fault = driver.faults.failOn(point, { nth, at });
      const failed = await driver.spawn(spec).then(
        () => false,
        () => true,
      );
      fault.remove();
      const label = `${point} #${nth} ${at}`;
      if (failed && !point.startsWith("driver.")) expect(driver.world.ledger(), label).toEqual(before);
      if (failed && at !== "after") await driver.spawn(spec);
      driver.world.assertSound();
      await driver.destroy(spec);
      expect(driver.world.ledger(), label).toEqual(before);
      await driver.close();
    }
  });

  it("ends by its deadline when something hangs, in no time of ours", async () => {
    const driver = new FakeDriver();
    await driver.initHost();
    const before = driver.world.ledger();
    driver.faults.hang("guest.start");
    const start = driver.clock.now();
    await expect(driver.spawn(fakeSpec(), { deadline: 20_000 })).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    expect(driver.clock.now() - start).toBeGreaterThanOrEqual(20_000);
    expect(driver.world.ledger()).toEqual(before);
    await driver.close();
  });

  it("can be one whose answer was lost", async () => {
    const driver = new FakeDriver();
    await driver.initHost();
    const spec = fakeSpec();
    driver.faults.failOn("spawn", { nth: 1, at: "after" });
    await expect(driver.spawn(spec)).rejects.toMatchObject({ code: "FAKE_FAULT" });
    await expect(driver.spawn(spec)).rejects.toMatchObject({ code: "INSTANCE_EXISTS" });
    driver.faults.failOn("snapshot");
    const handle = driver.snapshot(spec, "image");
    await expect(handle.result).rejects.toMatchObject({ code: "FAKE_FAULT" });
    await driver.close();
  });
});

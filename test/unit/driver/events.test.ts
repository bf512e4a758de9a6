import { describe, expect, it } from "vitest";
import type { DriverEvent } from "../../../src/driver/index.js";
import { Intents } from "../../../src/driver/intents.js";
import { failureOf, instance, openStage } from "./support/scenarios.js";
import type { Stage } from "./support/scenarios.js";
import { connection, OTHER_UUID, smallSpec, vif } from "./support/specs.js";

type Short = string;

/** `lifecycle started self`, `instance spawned`, `device attached volume-vol-3`. */
function short(event: DriverEvent): Short {
  if (event.type === "lifecycle") return `lifecycle ${event.transition} ${event.cause}`;
  if (event.type === "instance") return `instance ${event.change}`;
  if (event.type === "device") return `device ${event.change} ${event.device}`;
  return event.type;
}

/** What is told from now on, until `stop`. */
function listen({ driver }: Pick<Stage, "driver">): {
  readonly stop: () => Promise<readonly Short[]>;
  readonly raw: DriverEvent[];
} {
  const controller = new AbortController();
  const raw: DriverEvent[] = [];
  const events = driver.events();
  const reading = (async () => {
    for await (const event of events) raw.push(event);
  })();
  return {
    raw,
    stop: async () => {
      await new Promise<void>((resolve) => setImmediate(resolve));
      controller.abort();
      await events.return?.();
      await reading;
      return raw.filter(({ type }) => type !== "agent" && type !== "connection").map(short);
    },
  };
}

async function running(): Promise<Stage> {
  const stage = await openStage();
  await stage.driver.spawn(smallSpec());
  return stage;
}

describe("events", () => {
  it("tell of what the driver does, as its own doing", async () => {
    const stage = await openStage();
    const { driver } = stage;
    const ears = listen(stage);
    await driver.spawn(smallSpec());
    await driver.pause(instance);
    await driver.unpause(instance);
    await driver.suspend(instance);
    await driver.powerOn(instance);
    await driver.powerOff(instance, { graceMs: 0 });
    await driver.powerOn(instance);
    await driver.reboot(instance, "hard");
    await driver.destroy(instance);
    expect(await ears.stop()).toEqual([
      "lifecycle started self",
      "instance spawned",
      "lifecycle paused self",
      "lifecycle resumed self",
      "lifecycle suspended self",
      "lifecycle resumed self",
      "lifecycle stopped self",
      "lifecycle started self",
      "lifecycle stopped self",
      "lifecycle started self",
      "lifecycle stopped self",
      "instance destroyed",
    ]);
  });

  it("tell that a guest shut down because it was asked to", async () => {
    const stage = await running();
    const ears = listen(stage);
    await stage.driver.powerOff(instance);
    await stage.driver.powerOn(instance);
    await stage.driver.reboot(instance, "soft");
    expect(await ears.stop()).toEqual([
      "lifecycle stopped self",
      "lifecycle started self",
      "lifecycle stopped self",
      "lifecycle started self",
    ]);
  });

  it("tell of what guests do by themselves, what others do, and what breaks", async () => {
    const stage = await running();
    const { driver, world } = stage;
    const ears = listen(stage);
    world.guest(instance.uuid).powerOff();
    await driver.powerOn(instance);
    world.guest(instance.uuid).crash();
    await driver.powerOn(instance);
    world.guest(instance.uuid).reboot();
    world.guest(instance.uuid).failRequest("root", "no space");
    world.removeGuest(instance.uuid);
    expect(await ears.stop()).toEqual([
      "lifecycle stopped guest",
      "lifecycle started self",
      "lifecycle crashed crash",
      "lifecycle started self",
      "lifecycle rebooted guest",
      "ioError",
      "lifecycle stopped external",
    ]);
  });

  it("tell of a guest that shuts down by itself while nobody waits, although it was asked to before", async () => {
    const stage = await openStage();
    stage.world.setBehaviour(instance.uuid, { acpi: "ignore" });
    await stage.driver.spawn(smallSpec());
    const ears = listen(stage);
    await failureOf(stage.driver.powerOff(instance, { onTimeout: "fail" }));
    stage.world.guest(instance.uuid).powerOff();
    expect(await ears.stop()).toEqual(["lifecycle stopped guest"]);
  });

  it("keep the right cause when one of them is lost on its way", async () => {
    const stage = await running();
    stage.driver.eventFaults.lose({
      when: (event) => event.type === "lifecycle" && event.transition === "stopped",
      times: 1,
    });
    const ears = listen(stage);
    await stage.driver.powerOff(instance, { graceMs: 0 });
    await stage.driver.powerOn(instance);
    stage.world.guest(instance.uuid).powerOff();
    expect(await ears.stop()).toEqual(["lifecycle started self", "lifecycle stopped guest"]);
  });

  it("tell of devices once each, whether the guest runs or not", async () => {
    const stage = await running();
    const { driver } = stage;
    const ears = listen(stage);
    for (let round = 0; round < 2; round += 1) {
      await driver.attachVolume(instance, connection("vol-3"));
      await driver.attachVolume(instance, connection("vol-3"));
      await driver.attachInterface(instance, vif(3));
      await driver.detachVolume(instance, connection("vol-3"));
      await driver.detachVolume(instance, connection("vol-3"));
      await driver.detachInterface(instance, vif(3));
      if (round === 0) await driver.powerOff(instance, { graceMs: 0 });
    }
    const devices = [
      "device attached volume-vol-3",
      `device attached ${vif(3).id}`,
      "device detached volume-vol-3",
      `device detached ${vif(3).id}`,
    ];
    expect(await ears.stop()).toEqual([...devices, "lifecycle stopped self", ...devices]);
  });

  it("tell of no device that was taken back", async () => {
    const stage = await running();
    const ears = listen(stage);
    stage.driver.faults.failOn("guest.attachDisk");
    await failureOf(stage.driver.attachVolume(instance, connection("vol-3")));
    expect(await ears.stop()).toEqual([]);
  });

  it("are numbered without gaps, and stamped by the clock", async () => {
    const stage = await openStage();
    const ears = listen(stage);
    await stage.driver.spawn(smallSpec());
    await stage.driver.destroy(instance);
    await ears.stop();
    expect(ears.raw.map(({ sequence }) => sequence)).toEqual(ears.raw.map((_, i) => (ears.raw[0]?.sequence ?? 0) + i));
    for (const { timestamp } of ears.raw) expect(timestamp).toBeGreaterThanOrEqual(Date.UTC(2020, 0, 1));
  });

  it("of one instance alone, and those about none, when so asked", async () => {
    const stage = await running();
    const other = { uuid: OTHER_UUID, name: "web-2" };
    const events = stage.driver.events({ instance: { uuid: OTHER_UUID } });
    await stage.driver.pause(instance);
    await stage.driver.spawn(smallSpec({ ...other, blockDevices: [], vifs: [] }));
    const first = await events.next();
    expect(first.value).toMatchObject({ instance: other });
    await events.return?.();
  });

  it("say how many a slow reader has missed", async () => {
    const stage = await running();
    const events = stage.driver.events({ capacity: 2 });
    for (let i = 0; i < 3; i += 1) {
      await stage.driver.pause(instance);
      await stage.driver.unpause(instance);
    }
    expect((await events.next()).value).toMatchObject({ type: "overflow", dropped: 4 });
    expect((await events.next()).value).toMatchObject({ type: "lifecycle", transition: "paused" });
  });

  it("are missed neither by who subscribes before initHost, nor lost by a close", async () => {
    const stage = await running();
    const next = stage.driver.restart();
    const events = next.events();
    await next.initHost();
    await next.close();
    const heard: Short[] = [];
    for await (const event of events) heard.push(short(event));
    expect(heard).toContain("instance adopted");
  });

  it("end with their signal", async () => {
    const { driver } = await running();
    const controller = new AbortController();
    const events = driver.events({ signal: controller.signal });
    const waiting = events.next();
    controller.abort();
    expect(await waiting).toEqual({ done: true, value: undefined });
  });
});

describe("intents", () => {
  it("are taken once each, and by the right guest", () => {
    const intents = new Intents();
    intents.announce("a", "stopped");
    expect(intents.take("b", "stopped")).toBe(false);
    expect(intents.take("a", "started")).toBe(false);
    expect(intents.take("a", "stopped")).toBe(true);
    expect(intents.take("a", "stopped")).toBe(false);
  });

  it("that come after have outlived those before", () => {
    const intents = new Intents();
    intents.announce("a", "stopped");
    intents.announce("a", "started");
    expect(intents.take("a", "started")).toBe(true);
    expect(intents.take("a", "stopped")).toBe(false);
  });

  it("that are dropped or forgotten are gone", () => {
    const intents = new Intents();
    const first = intents.announce("a", "paused");
    const second = intents.announce("a", "paused");
    first.drop();
    first.drop();
    expect(intents.take("a", "paused")).toBe(true);
    second.drop();
    intents.announce("a", "paused");
    intents.forget("a");
    expect(intents.take("a", "paused")).toBe(false);
  });
});

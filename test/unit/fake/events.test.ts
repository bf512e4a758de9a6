import { describe, expect, it } from "vitest";
import type { DriverEvent, HypervisorEvent } from "../../../src/driver/index.js";
import { FakeDriver } from "../../../src/fake/index.js";
import { bench, transitions } from "./parts.js";

const isTransition = (name: string) => (event: HypervisorEvent) =>
  event.type === "lifecycle" && event.transition === name;

async function cycle() {
  const parts = await bench({ definition: { guestAgent: false } });
  const run = async (): Promise<void> => {
    await parts.guest.start();
    await parts.guest.pause();
    await parts.guest.resume();
    await parts.guest.kill();
  };
  return { ...parts, eventFaults: parts.process.eventFaults, run };
}

describe("events of a fake hypervisor", () => {
  it("come in order", async () => {
    const { events, run } = await cycle();
    await run();
    expect(transitions(events)).toEqual(["started", "paused", "resumed", "stopped"]);
  });

  it("can be late, and be overtaken", async () => {
    const { events, run, eventFaults, world } = await cycle();
    const fault = eventFaults.delay(500, { when: isTransition("paused") });
    await run();
    expect(transitions(events)).toEqual(["started", "resumed", "stopped"]);
    await world.clock.sleep(500);
    expect(transitions(events)).toEqual(["started", "resumed", "stopped", "paused"]);
    expect(fault.hits).toBe(1);
  });

  it("can come twice, or not at all", async () => {
    const { events, run, eventFaults } = await cycle();
    eventFaults.duplicate({ when: isTransition("started") });
    const lost = eventFaults.lose({ times: 1, when: isTransition("stopped") });
    await run();
    expect(transitions(events)).toEqual(["started", "started", "paused", "resumed"]);
    await run();
    expect(transitions(events).at(-1)).toBe("stopped");
    lost.remove();
    eventFaults.clear();
    await run();
    expect(transitions(events)).toHaveLength(4 + 5 + 4);
  });

  it("can come in another order, and none is held for ever", async () => {
    const { events, run, eventFaults, world } = await cycle();
    const fault = eventFaults.reorder({ window: 3, holdMs: 100 });
    await run();
    expect(transitions(events)).toEqual(["resumed", "paused", "started"]);
    await world.clock.sleep(100);
    expect(transitions(events)).toEqual(["resumed", "paused", "started", "stopped"]);
    await run();
    fault.remove();
    expect(transitions(events)).toHaveLength(8);
  });

  it("are lost while nobody listens or the connection is lost", async () => {
    const { events, guest, hypervisor, host, world } = await cycle();
    host.disconnect("restart of the daemon");
    await expect(guest.start()).rejects.toMatchObject({ code: "HYPERVISOR_UNAVAILABLE", retryable: true });
    host.reconnect();
    await guest.start();
    await hypervisor.close();
    world.crashGuest(guest.uuid);
    expect(events.map((event) => (event.type === "connection" ? event.state : event.type))).toEqual([
      "lost",
      "connected",
      "lifecycle",
    ]);
  });

  it("reach whoever reads the driver, in order and with who caused them", async () => {
    const driver = new FakeDriver();
    await driver.initHost();
    const spec = driver.world.spec();
    const seen: DriverEvent[] = [];
    const reader = (async () => {
      for await (const event of driver.events({ instance: spec })) seen.push(event);
    })();
    await driver.spawn(spec);
    await driver.powerOff(spec, { graceMs: 0 });
    await driver.powerOn(spec);
    driver.world.guest(spec.uuid).powerOff();
    await driver.powerOn(spec);
    driver.world.crashGuest(spec.uuid);
    await driver.close();
    await reader;
    const told = seen.flatMap((event) => (event.type === "lifecycle" ? [`${event.transition} by ${event.cause}`] : []));
    expect(told).toEqual([
      ...["started by self", "stopped by self", "started by self", "stopped by guest"],
      ...["started by self", "crashed by crash"],
    ]);
    expect(seen.map(({ sequence }) => sequence)).toEqual(
      [...seen].map(({ sequence }) => sequence).sort((x, y) => x - y),
    );
  });
});

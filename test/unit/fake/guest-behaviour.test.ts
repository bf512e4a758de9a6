import { describe, expect, it } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import { bench, transitions } from "./parts.js";

/** A clock that only the test moves. */
function still() {
  const clock = new VirtualClock();
  return { clock, options: { clock } };
}

describe("a guest that boots for a while", () => {
  it("hears no shutdown request before it is up", async () => {
    const { clock, options } = still();
    const { guest, world } = await bench(options);
    world.setBehaviour(guest.uuid, { bootMs: 1000, shutdownMs: 300 });
    await guest.start();
    await guest.requestShutdown();
    await clock.tick(999);
    expect(world.guest(guest.uuid).booted).toBe(false);
    await clock.tick(1);
    expect(world.guest(guest.uuid).booted).toBe(true);
    await clock.tick(10_000);
    expect((await guest.info()).state).toBe("running");
    await guest.requestShutdown();
    await guest.requestShutdown();
    await clock.tick(299);
    expect((await guest.info()).state).toBe("running");
    await clock.tick(1);
    expect((await guest.info()).state).toBe("shutdown");
  });

  it("tells of its agent when it is up", async () => {
    const { clock, options } = still();
    const { guest, world, events } = await bench(options);
    world.setBehaviour(guest.uuid, { bootMs: 1000 });
    await guest.start();
    expect(events.map(({ type }) => type)).toEqual(["lifecycle"]);
    await clock.tick(1000);
    expect(events.map(({ type }) => type)).toEqual(["lifecycle", "agent"]);
  });

  it("goes on booting when it was paused meanwhile", async () => {
    const { clock, options } = still();
    const { guest, world } = await bench(options);
    world.setBehaviour(guest.uuid, { bootMs: 1000 });
    await guest.start();
    await guest.pause();
    await clock.tick(5000);
    expect(world.guest(guest.uuid).booted).toBe(false);
    await guest.resume();
    await clock.tick(0);
    expect(world.guest(guest.uuid).booted).toBe(true);
  });
});

describe("a guest by itself", () => {
  it.each([
    ["crashes", { crashAfterMs: 500 }, "crashed", "crash", "crashed"],
    ["powers itself off", { powerOffAfterMs: 500 }, "shutdown", "guest", "stopped"],
  ] as const)("%s", async (_name, behaviour, state, cause, transition) => {
    const { clock, options } = still();
    const { guest, world, events } = await bench(options);
    world.setBehaviour(guest.uuid, behaviour);
    await guest.start();
    await clock.tick(499);
    expect((await guest.info()).state).toBe("running");
    await clock.tick(1);
    expect((await guest.info()).state).toBe(state);
    expect(events.at(-1)).toMatchObject({ transition, cause });
    expect(clock.pending).toBe(0);
  });

  it("reboots itself once", async () => {
    const { clock, options } = still();
    const { guest, world, events } = await bench(options);
    world.setBehaviour(guest.uuid, { rebootAfterMs: 500 });
    await guest.start();
    await clock.tick(10_000);
    expect(transitions(events)).toEqual(["started", "rebooted"]);
    expect(world.guest(guest.uuid).boots).toBe(2);
  });

  it("ignores ACPI for ever when told so, until it is told otherwise", async () => {
    const { guest, world } = await bench();
    world.setBehaviour(guest.uuid, { acpi: "ignore" });
    await guest.start();
    await guest.requestShutdown();
    await Promise.resolve();
    expect((await guest.info()).state).toBe("running");
    world.guest(guest.uuid).behave({ acpi: "obey" });
    await guest.requestShutdown();
    await guest.waitUntilStopped({});
  });

  it("does not end when its process is stuck, and the kill says so", async () => {
    const { guest, world } = await bench();
    await guest.start();
    world.setBehaviour(guest.uuid, { unkillable: true });
    await expect(guest.kill()).rejects.toMatchObject({ code: "GUEST_STUCK" });
    world.setBehaviour(guest.uuid, { unkillable: false, killMs: 700 });
    const before = world.clock.now();
    await guest.kill();
    expect(world.clock.now() - before).toBe(700);
  });

  it("is not left running when its slow start is aborted", async () => {
    const { clock, options } = still();
    const { guest, world, host } = await bench(options);
    world.setBehaviour(guest.uuid, { startMs: 60_000 });
    const abort = new AbortController();
    const start = guest.start({ signal: abort.signal });
    await clock.tick(30_000);
    expect(host.claimed.guests).toBe(1);
    abort.abort();
    await expect(start).rejects.toMatchObject({ code: "ABORTED" });
    expect((await guest.info()).state).toBe("shutdown");
    expect(host.claimed).toEqual({ memoryMiB: 0, vcpus: 0, guests: 0 });
    expect(clock.pending).toBe(0);
  });

  it("fails to start with the hypervisor's words for operators only", async () => {
    const { guest, world, host } = await bench();
    world.setBehaviour(guest.uuid, { startError: "kvm: no such device" });
    await expect(guest.start()).rejects.toMatchObject({ code: "GUEST_START_FAILED", detail: "kvm: no such device" });
    expect(host.claimed.guests).toBe(0);
  });

  it("waits for a stop without a timer, and stops waiting when aborted", async () => {
    const { clock, options } = still();
    const { guest } = await bench(options);
    await guest.start();
    const abort = new AbortController();
    const waiting = guest.waitUntilStopped({ signal: abort.signal });
    expect(clock.pending).toBe(0);
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
  });
});

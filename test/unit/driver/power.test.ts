import { describe, expect, it } from "vitest";
import { failureOf, instance, openStage } from "./support/scenarios.js";
import type { Stage } from "./support/scenarios.js";
import type { GuestBehaviour } from "../../../src/fake/index.js";
import { smallSpec } from "./support/specs.js";

async function running(behaviour: Partial<GuestBehaviour> = {}): Promise<Stage> {
  const stage = await openStage();
  stage.world.setBehaviour(instance.uuid, behaviour);
  await stage.driver.spawn(smallSpec());
  return stage;
}

async function stateOf({ driver }: Stage): Promise<string> {
  return (await driver.getInfo(instance)).state;
}

describe("powerOff", () => {
  it("says how the guest went", async () => {
    const obedient = await running({ shutdownMs: 500 });
    expect(await obedient.driver.powerOff(instance)).toEqual({ how: "guest" });
    expect(await obedient.driver.powerOff(instance)).toEqual({ how: "already" });
    const deaf = await running({ acpi: "ignore" });
    expect(await deaf.driver.powerOff(instance)).toEqual({ how: "killed" });
    const hasty = await running();
    expect(await hasty.driver.powerOff(instance, { graceMs: 0 })).toEqual({ how: "killed" });
    const paused = await running();
    await paused.driver.pause(instance);
    expect(await paused.driver.powerOff(instance)).toEqual({ how: "killed" });
  });

  it("asks again until the grace is over", async () => {
    const { driver } = await running({ acpi: "ignore" });
    const trace = driver.faults.startTrace();
    await driver.powerOff(instance, { graceMs: 1_000, resendMs: 300 });
    expect(trace.passed.filter(({ point }) => point === "guest.requestShutdown")).toHaveLength(4);
  });

  it("gives a guest that boots the time to hear it", async () => {
    const { driver } = await running({ bootMs: 700 });
    expect(await driver.powerOff(instance, { graceMs: 2_000, resendMs: 200 })).toEqual({ how: "guest" });
  });

  it("leaves a guest running that is not to be killed", async () => {
    const stage = await running({ acpi: "ignore" });
    const error = await failureOf(stage.driver.powerOff(instance, { onTimeout: "fail" }));
    expect(error).toMatchObject({ code: "SHUTDOWN_REFUSED", retryable: true, instance });
    expect(await stateOf(stage)).toBe("running");
  });

  it("kills a guest that can't be asked", async () => {
    const stage = await running();
    stage.driver.faults.failOn("guest.requestShutdown");
    expect(await stage.driver.powerOff(instance)).toEqual({ how: "killed" });
  });

  it("says that a guest does not even end when killed", async () => {
    const stage = await running({ unkillable: true });
    const error = await failureOf(stage.driver.powerOff(instance, { graceMs: 0 }));
    expect(error).toMatchObject({ code: "GUEST_STUCK", retryable: true, instance });
    stage.world.setBehaviour(instance.uuid, { unkillable: false });
    stage.world.guest(instance.uuid).behave({ unkillable: false });
    expect(await stage.driver.powerOff(instance, { graceMs: 0 })).toEqual({ how: "already" });
  });

  it("goes on when the guest crashes under it", async () => {
    const stage = await running({ acpi: "ignore" });
    const ask = stage.driver.faults.hang("guest.requestShutdown");
    const off = stage.driver.powerOff(instance);
    await ask.reached;
    stage.world.crashGuest(instance.uuid);
    expect((await off).how).toBe("guest");
  });
});

describe("reboot", () => {
  it("is soft when the guest obeys, hard when it does not", async () => {
    const obedient = await running();
    expect(await obedient.driver.reboot(instance, "soft")).toEqual({ type: "soft" });
    expect(obedient.world.guest(instance.uuid).boots).toBe(2);
    const deaf = await running({ acpi: "ignore" });
    expect(await deaf.driver.reboot(instance, "soft")).toEqual({ type: "hard" });
    expect(deaf.world.guest(instance.uuid).boots).toBe(2);
    const hasty = await running();
    expect(await hasty.driver.reboot(instance, "soft", { graceMs: 0 })).toEqual({ type: "hard" });
  });

  it("hard puts everything up again that the guest needs", async () => {
    const stage = await running();
    const before = stage.world.ledger();
    stage.driver.host.filters.clear();
    stage.driver.host.volumes.clear();
    stage.driver.host.ports.clear();
    stage.driver.host.portByDevice.clear();
    await stage.driver.reboot(instance, "hard");
    expect(stage.world.ledger()).toEqual(before);
  });

  it("hard that fails can be repeated, and does not stand in the way of other operations", async () => {
    const stage = await running();
    const connect = stage.driver.faults.failOn("volumes.connect");
    expect((await failureOf(stage.driver.reboot(instance, "hard")))?.code).toBe("FAKE_FAULT");
    expect(await stateOf(stage)).toBe("shutdown");
    await stage.driver.detachVolume(instance, { volumeId: "vol-1", type: "fake", data: {} });
    await stage.driver.reboot(instance, "hard");
    expect(await stateOf(stage)).toBe("running");
    connect.remove();
    stage.world.assertSound();
  });

  it("hard that a dead process had begun is given up by the next when it can't finish it", async () => {
    const stage = await running();
    stage.driver.faults.crash("guest.kill", { at: "after" });
    await failureOf(stage.driver.reboot(instance, "hard"));
    stage.driver.faults.clear();
    const broken = stage.driver.faults.failOn("volumes.connect");
    const driver = stage.driver.restart();
    expect(await driver.initHost()).toMatchObject({
      operations: [{ kind: "reboot", outcome: "completed" }],
      lost: [instance],
    });
    await driver.detachVolume(instance, { volumeId: "vol-1", type: "fake", data: {} });
    await driver.reboot(instance, "hard");
    broken.remove();
    stage.world.assertSound();
  });

  it("hard that a dead process had begun is finished by the next", async () => {
    const stage = await running();
    stage.driver.faults.crash("guest.kill", { at: "after" });
    await failureOf(stage.driver.reboot(instance, "hard"));
    stage.driver.faults.clear();
    const driver = stage.driver.restart();
    const report = await driver.initHost();
    expect(report.operations).toMatchObject([{ kind: "reboot", instance, outcome: "completed" }]);
    expect(report.adopted).toEqual([instance]);
  });

  it("ends running from a state that can't be told", async () => {
    const stage = await running();
    stage.world.guest(instance.uuid).hang();
    expect((await stage.driver.getInfo(instance)).stale).toBe(true);
    await stage.driver.reboot(instance, "hard");
    expect(await stateOf(stage)).toBe("running");
    expect((await stage.driver.getInfo(instance)).stale).toBe(false);
  });
});

describe("what the caller last asked for", () => {
  it("is what a boot of the host brings back", async () => {
    const stage = await running();
    await stage.driver.powerOff(instance, { graceMs: 0 });
    expect((await stage.driver.restart().initHost()).lost).toEqual([]);
  });

  it("is not changed by what fails", async () => {
    const stage = await running();
    stage.driver.faults.failOn("guest.pause");
    await failureOf(stage.driver.pause(instance));
    stage.driver.faults.clear();
    stage.driver.crash();
    stage.world.guest(instance.uuid).powerOff();
    expect((await stage.driver.restart().initHost()).lost).toEqual([instance]);
  });
});

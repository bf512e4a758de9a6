import { describe, expect, it } from "vitest";
import { failureOf, instance, openStage, worldOf } from "./support/scenarios.js";
import type { Stage } from "./support/scenarios.js";
import type { SeamPoint } from "../../../src/fake/index.js";
import { connection, fullSpec, OTHER_UUID, smallSpec } from "./support/specs.js";

async function running(): Promise<Stage> {
  const stage = await openStage();
  await stage.driver.spawn(fullSpec());
  return stage;
}

const BROKEN: readonly SeamPoint[] = [
  "hypervisor.undefine",
  "vifs.unplug",
  "firewall.unfilterInstance",
  "volumes.disconnect",
  "disks.removeAll",
  "state.delete",
];

describe("destroy", () => {
  it.each(BROKEN)("removes all the rest when %s fails, says so, and goes on when called again", async (point) => {
    const stage = await running();
    const fault = stage.driver.faults.failOn(point, { when: ({ subject = "" }) => !subject.startsWith("operations/") });
    const error = await failureOf(stage.driver.destroy(instance));
    expect(error).toMatchObject({ code: "CLEANUP_INCOMPLETE", retryable: true, instance });
    expect(error?.undoErrors.length).toBeGreaterThan(0);
    for (const cause of error?.undoErrors ?? []) expect(cause).toMatchObject({ code: "FAKE_FAULT" });
    const left = new Set(stage.world.ledger().map(({ kind }) => kind));
    expect(left).toContain("record");
    expect(left).not.toContain("guest");
    expect(await stage.driver.instanceExists(instance)).toBe(true);
    fault.remove();
    await stage.driver.destroy(instance);
    expect(stage.world.ledger()).toEqual([]);
  });

  it("touches nothing under a guest that does not end", async () => {
    const stage = await running();
    const before = worldOf(stage);
    stage.world.guest(instance.uuid).behave({ unkillable: true });
    const error = await failureOf(stage.driver.destroy(instance));
    expect(error).toMatchObject({ code: "GUEST_STUCK", retryable: true, instance });
    expect(worldOf(stage).ledger.filter(({ kind }) => kind !== "operation")).toEqual(before.ledger);
    stage.world.guest(instance.uuid).behave({ unkillable: false });
    await stage.driver.destroy(instance);
    expect(stage.world.ledger()).toEqual([]);
  });

  it("once begun, is finished by whatever comes next", async () => {
    const stage = await running();
    const fault = stage.driver.faults.failOn("volumes.disconnect");
    await failureOf(stage.driver.destroy(instance));
    expect((await failureOf(stage.driver.powerOn(instance)))?.code).toBe("CLEANUP_INCOMPLETE");
    fault.remove();
    expect((await failureOf(stage.driver.powerOn(instance)))?.code).toBe("INSTANCE_NOT_FOUND");
    expect(stage.world.ledger()).toEqual([]);
    await stage.driver.spawn(fullSpec());
    await stage.driver.initHost();
    expect(await stage.driver.getInfo(instance)).toMatchObject({ state: "running" });
  });

  it("gives the guest its grace", async () => {
    const stage = await openStage();
    stage.world.setBehaviour(instance.uuid, { shutdownMs: 500 });
    await stage.driver.spawn(smallSpec());
    const trace = stage.driver.faults.startTrace();
    await stage.driver.destroy(instance, { graceMs: 1_000 });
    expect(trace.passed.some(({ point }) => point === "guest.requestShutdown")).toBe(true);
    expect(trace.passed.some(({ point }) => point === "guest.kill")).toBe(false);
  });

  it("removes a guest that crashed, and one that others have removed", async () => {
    for (const spoil of [
      ({ world }: Stage) => world.crashGuest(instance.uuid),
      ({ world }: Stage) => world.removeGuest(instance.uuid),
    ]) {
      const stage = await running();
      spoil(stage);
      await stage.driver.destroy(instance);
      expect(stage.world.ledger()).toEqual([]);
    }
  });

  it("removes everything of an instance that is suspended", async () => {
    const stage = await running();
    await stage.driver.suspend(instance);
    await stage.driver.destroy(instance);
    expect(stage.world.ledger()).toEqual([]);
  });

  it("keeps the disks when asked to, and removes them later", async () => {
    const stage = await running();
    await stage.driver.destroy(instance, { destroyDisks: false });
    expect(stage.world.ledger().map(({ kind }) => kind)).toEqual(["disk", "disk", "disk"]);
    expect(await stage.driver.instanceOnDisk(instance)).toBe(true);
    expect(await stage.driver.deleteInstanceFiles(instance)).toBe(true);
    expect(stage.world.ledger()).toEqual([]);
    expect(await stage.driver.deleteInstanceFiles(instance)).toBe(true);
  });

  it("leaves other instances what they share with this one", async () => {
    const stage = await openStage();
    const other = { uuid: OTHER_UUID, name: "web-2" };
    const shared = connection("vol-1", { multiattach: true });
    await stage.driver.spawn(smallSpec({ blockDevices: [{ connection: shared }] }));
    await stage.driver.spawn(smallSpec({ ...other, blockDevices: [{ connection: shared }], vifs: [] }));
    await stage.driver.destroy(instance);
    stage.world.assertSound();
    await stage.driver.reboot(other, "hard");
    await stage.driver.destroy(other);
    expect(stage.world.ledger()).toEqual([]);
  });
});

describe("cleanup", () => {
  it("removes what a guest that is gone has left", async () => {
    const stage = await running();
    stage.world.removeGuest(instance.uuid);
    await stage.driver.cleanup(instance);
    expect(stage.world.ledger()).toEqual([]);
  });
});

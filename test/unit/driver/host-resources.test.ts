import { describe, expect, it } from "vitest";
import { tracingChannel } from "node:diagnostics_channel";
import { createDriver } from "../../../src/driver/index.js";
import { createFakeParts, FakeDriver, FakeWorld } from "../../../src/fake/index.js";
import { failureOf, instance, openStage } from "./support/scenarios.js";
import { smallSpec } from "./support/specs.js";

describe("the host's resources", () => {
  it("are what there is, and what guests in memory use", async () => {
    const world = new FakeWorld({ hosts: [{ name: "node-a", vcpus: 8, memoryMiB: 16_384 }] });
    const driver = new FakeDriver({ world });
    await driver.initHost();
    await driver.spawn(smallSpec({ blockDevices: [], flavor: { vcpus: 3, memoryMiB: 1_024, rootGiB: 2 } }));
    expect(await driver.getAvailableResource()).toMatchObject({
      hostname: "node-a",
      vcpus: 8,
      vcpusUsed: 3,
      memoryMiB: 16_384,
      runningGuests: 1,
    });
    await driver.powerOff(instance, { graceMs: 0 });
    expect(await driver.getAvailableResource()).toMatchObject({ vcpusUsed: 0, runningGuests: 0 });
    const { VCPU, MEMORY_MB, DISK_GB } = await driver.getInventory();
    expect(VCPU).toEqual({ total: 8, reserved: 0, minUnit: 1, maxUnit: 8, stepSize: 1, allocationRatio: 1 });
    expect(MEMORY_MB?.total).toBe(16_384);
    expect(DISK_GB?.total).toBeGreaterThan(0);
    expect(await driver.getHostIpAddress()).toBe("192.0.2.1");
    expect(await driver.getHostUptimeMs()).toBeGreaterThanOrEqual(0);
    expect(driver.estimateInstanceOverhead({ vcpus: 1, memoryMiB: 512, rootGiB: 1 })).toMatchObject({
      vcpus: 0,
      diskGiB: 0,
    });
  });

  it("count a guest that does not answer", async () => {
    const { driver } = await openStage();
    await driver.spawn(smallSpec());
    driver.faults.failOn("guest.info");
    expect(await driver.getAvailableResource()).toMatchObject({ vcpusUsed: 1, runningGuests: 1 });
  });

  it("are not waited for for ever", async () => {
    const { driver } = await openStage();
    driver.faults.hang("hypervisor.hostFacts", { ignoreAbort: true });
    expect(await failureOf(driver.getInventory())).toMatchObject({ code: "DEADLINE_EXCEEDED", retryable: true });
    expect((await failureOf(driver.getHostIpAddress({ signal: AbortSignal.abort() })))?.code).toBe("ABORTED");
  });
});

describe("createDriver", () => {
  it("takes one connector a type, and real timeouts", () => {
    const { hypervisor, collaborators } = createFakeParts();
    const twice = { ...collaborators, volumes: [...collaborators.volumes, ...collaborators.volumes] };
    expect(() => createDriver({ hypervisor, collaborators: twice })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field: "collaborators.volumes[2].type" }) as Error,
    );
    for (const timeouts of [{ startMs: -1 }, { startMs: Number.NaN }, { startMs: "1" as unknown as number }]) {
      expect(() => createDriver({ hypervisor, collaborators, timeouts })).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", field: "timeouts.startMs" }) as Error,
      );
    }
    expect(() => createDriver({ hypervisor, collaborators, timeouts: { bootMs: 1 } as never })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field: "timeouts.bootMs" }) as Error,
    );
  });

  it("drives any hypervisor", async () => {
    const { hypervisor, collaborators } = createFakeParts();
    const driver = createDriver({ hypervisor, collaborators });
    expect(driver.hypervisorType).toBe("fake");
    await driver.initHost();
    await driver.spawn(smallSpec({ blockDevices: [] }));
    expect(await driver.listInstanceUuids()).toEqual([instance.uuid]);
    expect(await driver.getNumInstances()).toBe(1);
    await driver.close();
  });
});

describe("an instance", () => {
  it("keeps the name that it was spawned with, whatever it is called later", async () => {
    const { driver, world } = await openStage();
    await driver.spawn(smallSpec());
    await driver.pause({ ...instance, name: "another-name" });
    expect(await driver.getInfo(instance)).toMatchObject({ instance, state: "paused" });
    await driver.destroy({ ...instance, name: "another-name" });
    expect(world.ledger()).toEqual([]);
  });
});

describe("tracing", () => {
  it("tells what is done to which instance, and no secret", async () => {
    const { driver } = await openStage();
    const channel = tracingChannel("hypervise:driver:spawn");
    const messages: unknown[] = [];
    const note = (message: unknown): void => void messages.push(message);
    const subscriber = { start: note, asyncEnd: note, end: () => undefined, asyncStart: () => undefined, error: note };
    channel.subscribe(subscriber);
    await driver.spawn(smallSpec({ adminPassword: "hunter2" }));
    await failureOf(driver.spawn(smallSpec({ adminPassword: "hunter2" })));
    channel.unsubscribe(subscriber);
    expect(messages).toMatchObject([{ kind: "spawn", instance }, {}, {}, { error: { code: "INSTANCE_EXISTS" } }, {}]);
    expect(JSON.stringify(messages)).not.toContain("hunter2");
  });
});

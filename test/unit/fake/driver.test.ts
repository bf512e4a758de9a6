import { describe, expect, it } from "vitest";
import { systemClock, VirtualClock } from "../../../src/core/index.js";
import { FakeDriver, fakeSpec, fakeVif, MEDIUM_HOST, SMALL_HOST } from "../../../src/fake/index.js";
import type { InstanceSpec } from "../../../src/driver/index.js";

async function ready(options: ConstructorParameters<typeof FakeDriver>[0] = {}) {
  const driver = new FakeDriver(options);
  await driver.initHost();
  return { driver, world: driver.world, spec: driver.world.spec() };
}

describe("a fake driver", () => {
  it("runs an instance in three lines", async () => {
    const driver = new FakeDriver();
    await driver.initHost();
    const { instance, state } = await driver.spawn(fakeSpec());
    expect(state).toBe("running");
    expect(driver.hypervisorType).toBe("fake");
    expect(driver.world.guest(instance.uuid).console).toContain("login:");
    await driver.close();
  });

  it("lets go of everything when it is closed, and guests run on", async () => {
    const clock = new VirtualClock();
    const { driver, world, spec } = await ready({ clock });
    await driver.spawn(spec);
    await driver.close();
    await driver.close();
    expect(world.guest(spec.uuid).state).toBe("running");
    expect(clock.pending).toBe(0);
    await expect(driver.getInfo(spec)).rejects.toMatchObject({ code: "CLOSED" });
    expect(() => void new FakeDriver({ world, host: "nowhere" })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });

  it("works on the machine's clock as well", async () => {
    const { driver, spec } = await ready({ clock: systemClock });
    await driver.spawn(spec);
    expect((await driver.getInfo(spec)).startedAt).toBeGreaterThan(Date.now() - 60_000);
    await driver.destroy(spec);
    await driver.close();
  });

  it("takes parts of the embedder's own in place of the simulated ones", async () => {
    const plugged: string[] = [];
    const { driver, spec } = await ready({
      collaborators: {
        vifs: {
          validate: () => undefined,
          plug: async (vif) => {
            plugged.push(vif.id);
            return { type: "tap", deviceName: "mine0", bridge: "br0", queues: 1 };
          },
          unplug: async () => undefined,
        },
      },
    });
    await driver.spawn(spec);
    expect(plugged).toEqual(spec.vifs!.map(({ id }) => id));
    await driver.destroy(spec);
    await driver.close();
  });
});

describe("validation", () => {
  const bad: readonly [string, string, (spec: InstanceSpec) => unknown][] = [
    ["a name that is a path", "spec.name", (spec) => ({ ...spec, name: "../x" })],
    ["a name with an option in it", "spec.name", (spec) => ({ ...spec, name: "a,b=c" })],
    ["a name of two lines", "spec.name", (spec) => ({ ...spec, name: "a\nb" })],
    ["no memory", "spec.flavor.memoryMiB", (spec) => ({ ...spec, flavor: { ...spec.flavor, memoryMiB: 0 } })],
    [
      "a MAC address that is none",
      "spec.vifs[0].macAddress",
      (spec) => ({ ...spec, vifs: [fakeVif({ macAddress: "x" })] }),
    ],
    ["a field that is not known", "spec.nics", (spec) => ({ ...spec, nics: [] })],
    ["a uuid that is none", "spec.uuid", (spec) => ({ ...spec, uuid: "1" })],
  ];

  it.each(bad)("refuses %s and names the field", async (_name, field, change) => {
    const { driver, world, spec } = await ready();
    const given = change(spec) as InstanceSpec;
    await expect(driver.spawn(given)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field });
    await expect(driver.plan(given)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field });
    expect(world.ledger()).toEqual([]);
    await driver.close();
  });

  it("rejects with the errors that other drivers reject with", async () => {
    const { driver, world, spec } = await ready();
    const unknown = world.spec();
    for (const call of [
      driver.getInfo(unknown),
      driver.powerOn(unknown),
      driver.pause(unknown),
      driver.reboot(unknown, "hard"),
    ]) {
      await expect(call).rejects.toMatchObject({ code: "INSTANCE_NOT_FOUND", instance: { uuid: unknown.uuid } });
    }
    await driver.destroy(unknown);
    await expect(driver.spawn({ ...spec, imageId: "none" })).rejects.toMatchObject({ code: "IMAGE_NOT_FOUND" });
    await driver.spawn(spec);
    await expect(driver.spawn(spec)).rejects.toMatchObject({ code: "INSTANCE_EXISTS" });
    const volume = world.volumes.create();
    await driver.attachVolume(spec, volume);
    await driver.attachVolume(spec, volume);
    const other = world.spec();
    await driver.spawn(other);
    await expect(driver.attachVolume(other, volume)).rejects.toMatchObject({ code: "CONFLICT" });
    await driver.powerOff(spec);
    await expect(driver.pause(spec)).rejects.toMatchObject({ code: "INVALID_STATE", state: "shutdown" });
    await expect(driver.resume(spec)).rejects.toMatchObject({ code: "INVALID_STATE" });
    await expect(new FakeDriver().spawn(spec)).rejects.toMatchObject({ code: "NOT_INITIALIZED" });
    world.assertSound();
    await driver.close();
  });
});

describe("capacity", () => {
  it.each([
    ["small", SMALL_HOST, 32],
    ["medium", MEDIUM_HOST, 160],
  ])("of a %s host ends where its vCPUs do, and nothing is left of what did not fit", async (_name, host, vcpus) => {
    const { driver, world } = await ready({ host });
    const large = world.spec({ flavor: { vcpus, memoryMiB: 512, rootGiB: 1 } });
    await driver.spawn(large);
    const before = world.ledger();
    await expect(driver.spawn(world.spec())).rejects.toMatchObject({ code: "NO_CAPACITY" });
    expect(world.ledger()).toEqual(before);
    await driver.destroy(large);
    await driver.spawn(world.spec());
    const resource = await driver.getAvailableResource();
    expect(resource).toMatchObject({ vcpus: host.vcpus, vcpusUsed: 1, memoryMiB: 8192, runningGuests: 1 });
    await driver.close();
  });

  it("of a full disk is told with its own error, and the instance is not half there", async () => {
    const { driver, world, spec } = await ready({
      host: { storageOptions: { capacityBytes: 1024 ** 3, thick: true } },
    });
    const flavor = { vcpus: 1, memoryMiB: 512, rootGiB: 2 };
    await expect(driver.spawn({ ...spec, flavor })).rejects.toMatchObject({
      code: "DISK_FULL",
      instance: { uuid: spec.uuid },
    });
    expect(world.ledger()).toEqual([]);
    await driver.close();
  });
});

describe("time", () => {
  it("is the world's: a guest that ignores ACPI is killed when its grace is over", async () => {
    const { driver, world, spec } = await ready();
    await driver.spawn(spec);
    world.setBehaviour(spec.uuid, { acpi: "ignore" });
    const start = world.clock.now();
    expect(await driver.powerOff(spec, { graceMs: 45_000 })).toEqual({ how: "killed" });
    expect(world.clock.now() - start).toBe(45_000);
    await driver.close();
  });

  it("lets a guest shut down within its grace, though it is asked before it hears", async () => {
    const { driver, world, spec } = await ready({ host: { behaviour: { bootMs: 25_000, shutdownMs: 3000 } } });
    await driver.spawn(spec);
    const start = world.clock.now();
    expect(await driver.powerOff(spec, { graceMs: 60_000, resendMs: 10_000 })).toEqual({ how: "guest" });
    expect(world.clock.now() - start).toBe(33_000);
    await driver.close();
  });

  it("stands still until it is told, on a clock that the test moves", async () => {
    const clock = new VirtualClock();
    const { driver, world, spec } = await ready({ clock });
    await driver.spawn(spec);
    world.setBehaviour(spec.uuid, { detach: "ignore" });
    const volume = world.volumes.create();
    await driver.attachVolume(spec, volume);
    const detach = expect(driver.detachVolume(spec, volume)).rejects.toMatchObject({ code: "DEVICE_DETACH_FAILED" });
    await clock.tick(30_000);
    expect((await driver.listDisks(spec)).map(({ volumeId }) => volumeId)).toContain(volume.volumeId);
    await clock.tick(600_000);
    await detach;
    world.assertSound();
    await driver.close();
    expect(clock.pending).toBe(0);
  });
});

import { describe, expect, it } from "vitest";
import { liveMigrate } from "../../../src/driver/index.js";
import type { InstanceSpec } from "../../../src/driver/index.js";
import { FakeDriver, FakeWorld } from "../../../src/fake/index.js";
import type { FakeHostOptions } from "../../../src/fake/index.js";

/** Two drivers over one world, and an instance with a volume on the first. */
async function cluster(first: FakeHostOptions, second: FakeHostOptions) {
  const world = new FakeWorld({
    hosts: [
      { name: "a", ...first },
      { name: "b", ...second },
    ],
  });
  const a = new FakeDriver({ world, host: "a" });
  const b = new FakeDriver({ world, host: "b" });
  await a.initHost();
  await b.initHost();
  const spec: InstanceSpec = world.spec({ flavor: { vcpus: 2, memoryMiB: 4096, rootGiB: 1 } });
  await a.spawn(spec);
  await a.attachVolume(spec, world.volumes.create());
  world.guest(spec.uuid).write("root", "mine");
  const close = async (): Promise<void> => {
    await a.close();
    await b.close();
  };
  return { world, a, b, spec, close };
}

const places = (world: FakeWorld) => new Set(world.ledger().map(({ place }) => place));

describe("a cluster of fake hosts", () => {
  it.each([
    ["with shared storage", { storage: "shared" }],
    ["without shared storage", {}],
  ])("moves a running instance from one to the other %s", async (_name, storage) => {
    const { world, a, b, spec, close } = await cluster(storage, storage);
    await liveMigrate(a, b, spec).result;
    expect((await b.getInfo(spec)).state).toBe("running");
    expect(await a.instanceExists(spec)).toBe(false);
    expect(world.guest(spec.uuid).host.name).toBe("b");
    expect(world.guest(spec.uuid).read("root")).toEqual(["image:cirros", "mine"]);
    expect(places(world)).toEqual(new Set(["b", ...("storage" in storage ? ["shared"] : [])]));
    world.assertSound();
    await b.destroy(spec);
    expect(world.ledger()).toEqual([]);
    await close();
  });

  it("keeps the instance where it was when the hosts are cut off from each other on the way", async () => {
    const { world, a, b, spec, close } = await cluster({ storage: "shared" }, { storage: "shared" });
    const before = world.ledger();
    world.setBehaviour(spec.uuid, { dirtyMiBps: 5000 });
    const handle = liveMigrate(a, b, spec);
    world.clock.setTimeout(() => world.partition("b"), 6000);
    await expect(handle.result).rejects.toMatchObject({ code: "MIGRATION_FAILED" });
    world.heal("b");
    expect((await a.getInfo(spec)).state).toBe("running");
    expect(world.ledger()).toEqual(before);
    world.assertSound();
    await close();
  });

  it("refuses a destination whose CPU is less, or that has no room", async () => {
    const weak = await cluster(
      { storage: "s" },
      { storage: "s", cpu: { arch: "x86_64", topology: { sockets: 1, cores: 1, threads: 1 }, features: [] } },
    );
    const before = weak.world.ledger();
    await expect(liveMigrate(weak.a, weak.b, weak.spec).result).rejects.toMatchObject({
      code: "MIGRATION_PRECHECK_FAILED",
    });
    expect(weak.world.ledger()).toEqual(before);
    await weak.close();
    const small = await cluster({ storage: "s" }, { storage: "s", memoryMiB: 2048 });
    await expect(liveMigrate(small.a, small.b, small.spec).result).rejects.toThrow();
    expect((await small.a.getInfo(small.spec)).state).toBe("running");
    small.world.assertSound();
    await small.close();
  });

  it("runs operations on its hosts at once, each with faults and events of its own", async () => {
    const { world, a, b, spec, close } = await cluster({}, {});
    const other = world.spec();
    a.faults.failOn("guest.start");
    b.eventFaults.lose();
    await b.spawn(other);
    await a.powerOff(spec);
    await expect(a.powerOn(spec)).rejects.toMatchObject({ code: "FAKE_FAULT" });
    expect((await b.getInfo(other)).state).toBe("running");
    expect(await a.listInstanceUuids()).toEqual([spec.uuid]);
    expect(await b.listInstanceUuids()).toEqual([other.uuid]);
    await close();
  });

  it("keeps what runs on a host that is cut off, and refuses what needs the others", async () => {
    const { world, a, spec, close } = await cluster({}, {});
    world.partition("a");
    await a.reboot(spec, "soft");
    await expect(a.spawn(world.spec({ imageId: "debian" }))).rejects.toMatchObject({ code: "FAKE_UNREACHABLE" });
    await expect(a.attachVolume(spec, world.volumes.create())).rejects.toMatchObject({ retryable: true });
    world.assertSound();
    world.heal("a");
    await a.attachVolume(spec, world.volumes.create());
    await close();
  });
});

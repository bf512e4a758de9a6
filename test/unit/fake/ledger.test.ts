import { describe, expect, it } from "vitest";
import { diffLedgers, FakeDriver } from "../../../src/fake/index.js";
import type { FakeHost } from "../../../src/fake/index.js";

async function running() {
  const driver = new FakeDriver();
  await driver.initHost();
  const spec = driver.world.spec();
  const before = driver.world.ledger();
  await driver.spawn(spec);
  return { driver, spec, before, world: driver.world, host: driver.host };
}

describe("the ledger", () => {
  it("names everything that an instance has on its host", async () => {
    const { world, spec, before, driver } = await running();
    const { added, removed } = diffLedgers(before, world.ledger());
    expect(removed).toEqual([]);
    expect(added.map(({ kind }) => kind).sort()).toEqual(
      ["definition", "disk", "filter", "guest", "memoryMiB", "port", "record", "vcpus"].sort(),
    );
    expect(new Set(added.map(({ owner }) => owner))).toEqual(new Set([spec.uuid]));
    await driver.powerOff(spec);
    const stopped = diffLedgers(before, world.ledger()).added.map(({ kind }) => kind);
    expect(stopped.sort()).toEqual(["definition", "disk", "filter", "port", "record"].sort());
    await driver.suspend(spec).catch(() => undefined);
    await driver.destroy(spec);
    expect(diffLedgers(before, world.ledger())).toEqual({ added: [], removed: [] });
    expect(world.ledger({ caches: true }).map(({ kind, id }) => `${kind} ${id}`)).toEqual(["image cirros"]);
  });
});

describe("the invariants", () => {
  it("hold of a world whose drivers do what they should", async () => {
    const { world } = await running();
    expect(world.checkInvariants()).toEqual([]);
    world.assertSound();
  });

  const breaches: readonly [string, RegExp, (host: FakeHost, uuid: string) => void][] = [
    ["claims that no guest has", /MiB are claimed/, (host) => void (host.claimed.memoryMiB += 1)],
    [
      "a port that no instance has",
      /port stray belongs to no instance/,
      (host, uuid) => {
        const port = [...host.ports.values()].find(({ owner }) => owner === uuid)!;
        host.ports.set("stray", { ...port, id: "stray", owner: "nobody" });
      },
    ],
    ["a guest without its port", /has lost .*no interface/, (host) => host.portByDevice.clear()],
    [
      "a guest without its disk",
      /has lost root/,
      (host, uuid) => host.storage.remove(host.storage.pathOf("disks", uuid, "root")),
    ],
    ["half-made things", /half-made/, (host) => void ([...host.ports.values()][0]!.bridged = false)],
    ["what an operation has left", /was left behind/, (host) => void host.storage.tokens.add("token")],
    ["an operation in the journal", /operation x was left behind/, (host) => void host.state.set("operations/x", "{}")],
    [
      "saved memory that is gone",
      /suspended and has no saved memory/,
      (host, uuid) => {
        host.guest(uuid).state = "suspended";
        Object.assign(host.claimed, { memoryMiB: 0, vcpus: 0, guests: 0 });
      },
    ],
    [
      "a name that is another's",
      /name of guest/,
      (host, uuid) => void host.uuidByName.set(host.guest(uuid).definition.name, "x"),
    ],
    ["bytes that no file has", /bytes are counted/, (host) => void ([...host.storage.files][0]!.allocatedBytes += 1)],
  ];

  it.each(breaches)("name %s", async (_name, words, breach) => {
    const { world, host, spec } = await running();
    breach(host, spec.uuid);
    expect(world.checkInvariants().join("\n")).toMatch(words);
    expect(() => world.assertSound()).toThrow(expect.objectContaining({ code: "FAKE_INVARIANT_VIOLATED" }));
  });

  it("name a guest that runs on two hosts", async () => {
    const { world, host, spec } = await running();
    const other = world.addHost();
    other.addGuest(host.guest(spec.uuid));
    expect(world.checkInvariants().join("\n")).toMatch(/in memory on host-1 and on host-2/);
  });

  it("let a test keep what it means to keep", async () => {
    const { world, driver, spec } = await running();
    await driver.destroy(spec, { destroyDisks: false });
    expect(world.checkInvariants()).toEqual([expect.stringContaining("disk root belongs to no instance")]);
    expect(world.checkInvariants({ ignore: ({ kind }) => kind === "disk" })).toEqual([]);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FakeDriver, FakeIds, FakeWorld, fakeSpec, SeededRandom } from "../../../src/fake/index.js";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const MAC = /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/;

describe("ids of a fake world", () => {
  it("are those that the seed determines", async () => {
    const run = async (seed: number) => {
      const driver = new FakeDriver({ seed });
      await driver.initHost();
      const spec = driver.world.spec();
      await driver.spawn(spec);
      const volume = driver.world.volumes.create();
      await driver.attachVolume(spec, volume);
      const console = await driver.getVncConsole(spec);
      const ledger = driver.world.ledger();
      await driver.close();
      return { spec, volume, console, ledger };
    };
    expect(await run(1)).toEqual(await run(1));
    expect((await run(1)).spec.uuid).not.toBe((await run(2)).spec.uuid);
  });

  it("are well formed and differ, whatever the seed", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), (seed) => {
        const random = new SeededRandom(seed);
        const uuids = Array.from({ length: 50 }, () => random.uuid());
        expect(new Set(uuids).size).toBe(50);
        for (const uuid of uuids) expect(uuid).toMatch(UUID);
        expect(new SeededRandom(random.state).uuid()).toBe(random.uuid());
        for (let i = 0; i < 20; i++) expect(random.below(3)).toBeLessThan(3);
      }),
    );
    const ids = FakeIds.of(3);
    const macs = Array.from({ length: 50_000 }, () => ids.mac());
    expect(new Set(macs).size).toBe(50_000);
    expect(macs[0]).toMatch(MAC);
    expect(new FakeIds(ids.state).mac()).toBe(ids.mac());
    expect(() => new SeededRandom(0.5)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("of specs without a world count up", () => {
    const [first, second] = [fakeSpec(), fakeSpec()];
    expect(first.uuid).toMatch(UUID);
    expect(second.uuid > first.uuid).toBe(true);
    const ports = [...first.vifs!, ...second.vifs!];
    expect(new Set(ports.map(({ id }) => id.slice(0, 11))).size).toBe(2);
    for (const { macAddress } of ports) expect(macAddress).toMatch(MAC);
    expect(fakeSpec({ name: "mine", vifs: [] })).toMatchObject({ name: "mine", vifs: [] });
  });

  it("of hosts are their number, unless they are given", () => {
    const world = new FakeWorld({ hosts: [{}, { name: "db" }, {}] });
    expect(world.hosts.map(({ name, ipAddress }) => `${name} ${ipAddress}`)).toEqual([
      ...["host-1 192.0.2.1", "db 192.0.2.2", "host-3 192.0.2.3"],
    ]);
    expect(() => world.addHost({ name: "db" })).toThrow(expect.objectContaining({ code: "CONFLICT" }));
    expect(() => world.host("web")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});

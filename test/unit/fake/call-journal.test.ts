import { describe, expect, it } from "vitest";
import { inspect } from "node:util";
import { Secret } from "../../../src/core/index.js";
import { FakeDriver, fakeSpec } from "../../../src/fake/index.js";

const PASSWORD = "correct horse";

describe("the calls of a fake driver", () => {
  it("stand in order with arguments, results, errors and times", async () => {
    const driver = new FakeDriver({ host: { behaviour: { startMs: 700 } } });
    await driver.initHost();
    const spec = fakeSpec();
    await driver.spawn(spec);
    await expect(driver.spawn(spec)).rejects.toThrow();
    await driver.getNumInstances();
    const [init, spawn, again, count] = driver.calls;
    expect(driver.calls.map(({ method, sequence }) => `${sequence} ${method}`)).toEqual([
      ...["1 initHost", "2 spawn", "3 spawn", "4 getNumInstances"],
    ]);
    expect(init).toMatchObject({ outcome: "resolved", args: [], result: { adopted: [] } });
    expect(spawn).toMatchObject({ outcome: "resolved", instanceUuid: spec.uuid, durationMs: 700 });
    expect(spawn!.args[0]).toMatchObject({ name: spec.name, flavor: spec.flavor });
    expect(again).toMatchObject({ outcome: "rejected", error: { code: "INSTANCE_EXISTS" } });
    expect(count).toMatchObject({ result: 1, durationMs: 0 });
    driver.clearCalls();
    expect(driver.calls).toEqual([]);
    await driver.close();
  });

  it("shows a call that runs, and is a copy of what was given", async () => {
    const driver = new FakeDriver();
    await driver.initHost();
    const hang = driver.faults.hang("guest.start");
    const spec = { ...fakeSpec(), metadata: { role: "web" } };
    const spawning = driver.spawn(spec);
    await hang.reached;
    spec.metadata.role = "db";
    expect(driver.calls.at(-1)).toMatchObject({
      method: "spawn",
      outcome: "running",
      args: [{ metadata: { role: "web" } }],
    });
    hang.remove();
    await spawning;
    expect(driver.calls.at(-1)).toMatchObject({ outcome: "resolved" });
    await driver.close();
  });

  it("holds no secret", async () => {
    const driver = new FakeDriver();
    await driver.initHost();
    const spec = fakeSpec({ adminPassword: PASSWORD });
    await driver.spawn(spec);
    await driver.setAdminPassword(spec, PASSWORD, { user: "admin" });
    await driver.setAdminPassword(spec, Secret.of(PASSWORD));
    await driver.injectFile(spec, "/secret", new TextEncoder().encode(PASSWORD));
    await expect(driver.setAdminPassword({ ...spec, uuid: "unknown" }, PASSWORD)).rejects.toThrow();
    await expect(driver.execInGuest(spec, ["cat", "/secret"])).resolves.toMatchObject({ exitCode: 0 });
    const shown = JSON.stringify(driver.calls) + inspect(driver.calls, { depth: 10 });
    expect(shown).not.toContain(PASSWORD);
    expect(shown).not.toContain(Buffer.from(PASSWORD).toString("base64"));
    expect(shown).toContain("[redacted]");
    expect(shown).toContain("admin");
    expect(driver.world.guest(spec.uuid).checkPassword("admin", PASSWORD)).toBe(true);
    expect(JSON.stringify(driver.world.snapshot())).not.toContain(PASSWORD);
    await driver.close();
  });

  it("forgets the oldest, and keeps none when asked", async () => {
    const driver = new FakeDriver({ callLimit: 10 });
    await driver.initHost();
    for (let i = 0; i < 100; i++) await driver.getNumInstances();
    expect(driver.calls.map(({ sequence }) => sequence)).toEqual([92, 93, 94, 95, 96, 97, 98, 99, 100, 101]);
    await driver.close();
    const silent = new FakeDriver({ callLimit: 0 });
    await silent.initHost();
    expect(silent.calls).toEqual([]);
    await silent.close();
  });
});

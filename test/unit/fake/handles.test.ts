import { describe, expect, it } from "vitest";
import { FakeDriver, fakeSpec } from "../../../src/fake/index.js";

async function running() {
  const driver = new FakeDriver({ host: { rates: { diskMiBps: 1 } } });
  await driver.initHost();
  const spec = fakeSpec();
  await driver.spawn(spec);
  driver.world.guest(spec.uuid).write("root", "x".repeat(50 * 1024 ** 2));
  return { driver, spec };
}

describe("an operation of a fake driver that has a handle", () => {
  it("is the same one when asked for again, also while it is traced", async () => {
    const { driver, spec } = await running();
    const trace = driver.faults.startTrace();
    const first = driver.snapshot(spec, "image");
    expect(driver.snapshot(spec, "image")).toBe(first);
    await first.result;
    expect(trace.passed.filter(({ point }) => point === "driver.snapshot")).toHaveLength(2);
    expect(driver.calls.at(-1)).toMatchObject({ method: "snapshot", outcome: "resolved", result: { id: "image" } });
    await driver.close();
  });

  it("begins after a fault that slows it, shows its progress, and can be aborted", async () => {
    const { driver, spec } = await running();
    const before = driver.world.ledger();
    driver.faults.slow("snapshot", 5000);
    const start = driver.clock.now();
    const handle = driver.snapshot(spec, "image");
    const phases = new Set<string>();
    for await (const { phase } of handle.events()) {
      phases.add(phase);
      if (phase === "copy") break;
    }
    expect(driver.clock.now() - start).toBeGreaterThanOrEqual(5000);
    await handle.abort();
    await expect(handle.result).rejects.toMatchObject({ code: "ABORTED" });
    expect(phases).toContain("copy");
    expect(driver.world.ledger()).toEqual(before);
    expect(driver.world.images.get("image")).toBeUndefined();
    await driver.close();
  });

  it("can be aborted before it begins", async () => {
    const { driver, spec } = await running();
    driver.faults.hang("snapshot");
    const handle = driver.snapshot(spec, "image");
    await handle.abort();
    await expect(handle.result).rejects.toMatchObject({ code: "ABORTED" });
    await driver.close();
  });
});

describe("many operations at once", () => {
  it("run beside each other, in the time of the longest", async () => {
    const driver = new FakeDriver({ host: { behaviour: { startMs: 3000 } } });
    await driver.initHost();
    const specs = Array.from({ length: 200 }, () => fakeSpec());
    const start = driver.clock.now();
    await Promise.all(specs.map((spec) => driver.spawn(spec)));
    expect(driver.clock.now() - start).toBe(3000);
    expect(await driver.getNumInstances()).toBe(200);
    driver.world.assertSound();
    await Promise.all(specs.map((spec) => driver.destroy(spec)));
    expect(driver.world.ledger()).toEqual([]);
    await driver.close();
  });
});

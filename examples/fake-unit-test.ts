/** An orchestrator's unit test: its own code on the fake driver, with a fault in the middle. Nothing real is started. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isHyperviseError } from "hypervise";
import type { ComputeDriver, InstanceSpec } from "hypervise";
import { FakeDriver, fakeSpec } from "hypervise/fake";

/** What is under test: tries the hosts in turn until one takes the instance. Knows nothing of any hypervisor. */
async function schedule(hosts: readonly ComputeDriver[], spec: InstanceSpec): Promise<ComputeDriver> {
  for (const host of hosts) {
    try {
      await host.spawn(spec);
      return host;
    } catch (error) {
      if (!isHyperviseError(error, "NO_CAPACITY") && !(isHyperviseError(error) && error.retryable)) throw error;
    }
  }
  throw new Error("no host takes the instance");
}

await test("goes on to the next host when a port can't be plugged, and leaves nothing on the first", async () => {
  const [first, second] = [new FakeDriver(), new FakeDriver()];
  await Promise.all([first.initHost(), second.initHost()]);
  const empty = first.world.ledger();
  first.faults.failOn("vifs.plug");

  assert.equal(await schedule([first, second], fakeSpec()), second);

  assert.deepEqual(first.world.ledger(), empty);
  assert.equal(await second.getNumInstances(), 1);
});

await test("does not try another host when the spec is wrong", async () => {
  const [first, second] = [new FakeDriver(), new FakeDriver()];
  await Promise.all([first.initHost(), second.initHost()]);

  await assert.rejects(schedule([first, second], fakeSpec({ name: "../etc" })), {
    code: "INVALID_ARGUMENT",
    field: "spec.name",
  });

  assert.equal(second.calls.filter(({ method }) => method === "spawn").length, 0);
});

await test("finds its instances again after its process was killed in the middle of a spawn", async () => {
  const driver = new FakeDriver();
  await driver.initHost();
  const kept = await driver.spawn(fakeSpec());
  driver.faults.crash("guest.start", { at: "after" });
  await assert.rejects(driver.spawn(fakeSpec()));

  const again = driver.restart();
  const report = await again.initHost();

  assert.deepEqual(report.adopted, [kept.instance]);
  assert.deepEqual(
    report.operations.map(({ kind, outcome }) => [kind, outcome]),
    [["spawn", "undone"]],
  );
  again.world.assertSound();
});

import assert from "node:assert/strict";
import type { ContractPart } from "./part.js";

export const hostContract: ContractPart = (context, it) => {
  it("describes its host in plausible numbers", async () => {
    const resource = await context.driver.getAvailableResource();
    assert(resource.hostname.length > 0);
    assert(resource.vcpus >= 1 && resource.memoryMiB > 0 && resource.diskBytes > 0);
    assert(
      resource.memoryUsedMiB >= 0 && resource.memoryUsedMiB <= resource.memoryMiB,
      "used memory is used memory, not what is free",
    );
    assert(resource.diskUsedBytes >= 0 && resource.diskUsedBytes <= resource.diskBytes);
    assert(Number.isInteger(resource.hypervisorVersion) && resource.hypervisorVersion > 0);
  });

  it("publishes an inventory", async () => {
    const inventory = await context.driver.getInventory();
    for (const name of ["VCPU", "MEMORY_MB", "DISK_GB"]) assert((inventory[name]?.total ?? 0) > 0, name);
  });

  it("counts a guest in memory among what is used", async () => {
    const before = await context.driver.getAvailableResource();
    await context.withInstance(async (_instance, spec) => {
      const during = await context.driver.getAvailableResource();
      assert.equal(during.vcpusUsed, before.vcpusUsed + spec.flavor.vcpus);
      assert.equal(during.runningGuests, before.runningGuests + 1);
    });
  });

  it("knows its address and how long the host is up", async () => {
    assert.match(await context.driver.getHostIpAddress(), /^[0-9a-fA-F.:]+$/);
    assert((await context.driver.getHostUptimeMs()) >= 0);
  });

  it("may be initialised again", async () => {
    const report = await context.driver.initHost();
    assert.deepEqual(report.operations, []);
  });

  if (context.has("hostCpuStatistics")) {
    it("counts the host's CPU time", async () => {
      const { idleNs, userNs, kernelNs, ioWaitNs } = await context.driver.getHostCpuStats();
      for (const value of [idleNs, userNs, kernelNs, ioWaitNs]) assert(value >= 0n);
    });
  }
};

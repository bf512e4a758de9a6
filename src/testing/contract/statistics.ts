import assert from "node:assert/strict";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const statisticsContract: ContractPart = (context, it) => {
  if (!context.has("statistics")) return;

  it("counts what a guest does", async () => {
    await context.withInstance(async (instance, spec) => {
      const diagnostics = await context.driver.getDiagnostics(instance);
      assert.equal(diagnostics.state, "running");
      assert.equal(diagnostics.configDrive, spec.configDrive !== undefined);
      assert.equal(diagnostics.vcpus.length, spec.flavor.vcpus);
      assert.equal(diagnostics.memory.maximumMiB, spec.flavor.memoryMiB);
      const root = await context.driver.blockStats(instance, "root");
      assert(root.readRequests >= 0n && root.readBytes >= 0n && root.writeBytes >= 0n);
      assert(diagnostics.disks.some(({ id }) => id === "root"));
    });
  });

  it("rejects for devices that are not there", async () => {
    await context.withInstance(async (instance) => {
      await rejectsWith("DISK_NOT_FOUND", context.driver.blockStats(instance, "no-such-disk"));
      await rejectsWith("INTERFACE_NOT_FOUND", context.driver.interfaceStats(instance, "no-such-interface"));
    });
    await rejectsWith("INSTANCE_NOT_FOUND", context.driver.getDiagnostics(NOBODY));
  });

  it("counts for all guests at once", async () => {
    const volume = context.has("volumes") ? await context.subject.volume() : undefined;
    const spec = volume === undefined ? {} : { blockDevices: [{ connection: volume }] };
    await context.withInstance(
      async (instance) => {
        const { unanswered } = await context.driver.getAllBandwidthCounters();
        assert.deepEqual(unanswered, []);
        const all = await context.driver.getAllDiagnostics();
        assert.deepEqual(all.unanswered, []);
        const [own] = all.diagnostics.filter((one) => one.instance.uuid === instance.uuid);
        assert.equal(own?.state, "running");
        assert(own.disks.some(({ id }) => id === "root"));
        const { usage } = await context.driver.getAllVolumeUsage();
        if (volume !== undefined && context.harness.wholeGuestDiskCounters !== true)
          assert(usage.some((entry) => entry.instance.uuid === instance.uuid && entry.volumeId === volume.volumeId));
      },
      { spec },
    );
  });
};

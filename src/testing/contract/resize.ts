import assert from "node:assert/strict";
import type { Flavor } from "../../driver/index.js";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

const larger = (flavor: Flavor): Flavor => ({
  ...flavor,
  name: "larger",
  memoryMiB: flavor.memoryMiB + 64,
  rootGiB: flavor.rootGiB + 1,
});

export const resizeContract: ContractPart = (context, it) => {
  if (!context.has("resize")) return;

  it("gives a guest a larger flavor, and keeps it when confirmed", async () => {
    await context.withInstance(async (instance, spec) => {
      const flavor = larger(spec.flavor);
      await context.driver.resize(instance, flavor).result;
      const resized = await context.driver.getInfo(instance);
      assert.equal(resized.state, "running");
      assert.equal(resized.task, "resized");
      assert.equal(resized.memoryMiB, flavor.memoryMiB);
      for (const _again of [1, 2]) await context.driver.confirmMigration(instance);
      assert.equal((await context.driver.getInfo(instance)).task, "none");
      assert.deepEqual((await context.driver.getSpec(instance)).flavor, flavor);
      await rejectsWith("INVALID_STATE", context.driver.finishRevertMigration(instance));
    });
  });

  it("goes back to the old flavor and disks when reverted", async () => {
    await context.withInstance(async (instance, spec) => {
      const [before] = await context.driver.getInstanceDiskInfo(instance);
      await context.driver.resize(instance, larger(spec.flavor)).result;
      await context.driver.finishRevertMigration(instance);
      const back = await context.driver.getInfo(instance);
      assert.equal(back.state, "running");
      assert.equal(back.task, "none");
      assert.equal(back.memoryMiB, spec.flavor.memoryMiB);
      const [after] = await context.driver.getInstanceDiskInfo(instance);
      assert.equal(after?.virtualSizeBytes, before?.virtualSizeBytes);
    });
  });

  it("does not shrink a disk, and leaves the guest running", async () => {
    await context.withInstance(
      async (instance, spec) => {
        const { rootGiB } = spec.flavor;
        await rejectsWith(
          "RESIZE_FAILED",
          context.driver.resize(instance, {
            ...spec.flavor,
            memoryMiB: spec.flavor.memoryMiB + 1,
            rootGiB: rootGiB - 1,
          }).result,
        );
        await rejectsWith("RESIZE_FAILED", context.driver.resize(instance, spec.flavor).result);
        assert.equal((await context.driver.getInfo(instance)).task, "none");
      },
      { powerOn: false, spec: { flavor: { ...context.subject.spec().flavor, rootGiB: 2 } } },
    );
  });

  it("rejects for an instance that is not there", async () => {
    await rejectsWith(
      "INSTANCE_NOT_FOUND",
      context.driver.resize(NOBODY, { vcpus: 1, memoryMiB: 64, rootGiB: 1 }).result,
    );
    await context.driver.confirmMigration(NOBODY);
  });
};

import assert from "node:assert/strict";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const rescueContract: ContractPart = (context, it) => {
  if (!context.has("rescue")) return;

  it("boots from a rescue disk with the instance's own beside it, and goes back", async () => {
    await context.withInstance(async (instance) => {
      const disks = context.has("volumes") ? (await context.driver.listDisks(instance)).length : 0;
      await context.driver.rescue(instance, { imageId: context.subject.otherImageId });
      const rescued = await context.driver.getInfo(instance);
      assert.equal(rescued.state, "running");
      assert.equal(rescued.task, "rescued");
      await rejectsWith("INVALID_STATE", context.driver.rescue(instance));
      for (const _again of [1, 2]) await context.driver.unrescue(instance);
      const back = await context.driver.getInfo(instance);
      assert.equal(back.state, "running");
      assert.equal(back.task, "none");
      if (context.has("volumes")) assert.equal((await context.driver.listDisks(instance)).length, disks);
    });
  });

  it("gives a stopped guest back stopped", async () => {
    await context.withInstance(
      async (instance) => {
        await context.driver.rescue(instance);
        await context.driver.unrescue(instance);
        assert.equal((await context.driver.getInfo(instance)).state, "shutdown");
      },
      { powerOn: false },
    );
  });

  it("destroys a rescued instance whole", async () => {
    await context.withInstance((instance) => context.driver.rescue(instance), { powerOn: false });
  });

  it("rejects for an instance that is not there", async () => {
    await rejectsWith("INSTANCE_NOT_FOUND", context.driver.rescue(NOBODY));
    await rejectsWith("INSTANCE_NOT_FOUND", context.driver.unrescue(NOBODY));
  });
};

import assert from "node:assert/strict";
import { rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const rebuildContract: ContractPart = (context, it) => {
  if (!context.has("rebuild")) return;

  it("makes the instance anew from another image, and keeps its identity and power state", async () => {
    await context.withInstance(async (instance) => {
      await context.driver.rebuild(instance, context.subject.otherImageId);
      assert.equal((await context.driver.getInfo(instance)).state, "running");
      assert.equal((await context.driver.getSpec(instance)).imageId, context.subject.otherImageId);
    });
  });

  it("leaves the instance as it was when the image is not there", async () => {
    await context.withInstance(
      async (instance, spec) => {
        await rejectsWith("IMAGE_NOT_FOUND", context.driver.rebuild(instance, "no-such-image"));
        assert.equal((await context.driver.getSpec(instance)).imageId, spec.imageId);
        await context.driver.powerOn(instance);
      },
      { powerOn: false },
    );
  });
};

import assert from "node:assert/strict";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const pauseContract: ContractPart = (context, it) => {
  if (!context.has("pause")) return;

  it("stops the vCPUs and lets them run again; a second call succeeds", async () => {
    await context.withInstance(async (instance) => {
      for (const _again of [1, 2]) {
        await context.driver.pause(instance);
        assert.equal((await context.driver.getInfo(instance)).state, "paused");
      }
      for (const _again of [1, 2]) {
        await context.driver.unpause(instance);
        assert.equal((await context.driver.getInfo(instance)).state, "running");
      }
    });
  });

  it("powers on a paused guest by letting it run", async () => {
    await context.withInstance(async (instance) => {
      await context.driver.pause(instance);
      await context.driver.powerOn(instance);
      assert.equal((await context.driver.getInfo(instance)).state, "running");
    });
  });

  it("rejects for a stopped guest and for none", async () => {
    await rejectsWith("INSTANCE_NOT_FOUND", context.driver.pause(NOBODY));
    await context.withInstance(
      async (instance) => {
        await rejectsWith("INVALID_STATE", context.driver.pause(instance));
        await rejectsWith("INVALID_STATE", context.driver.unpause(instance));
      },
      { powerOn: false },
    );
  });
};

import assert from "node:assert/strict";
import { rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const suspendContract: ContractPart = (context, it) => {
  if (!context.has("suspend")) return;

  it("saves a guest's memory and runs on from it; a second call succeeds", async () => {
    await context.withInstance(async (instance) => {
      for (const _again of [1, 2]) {
        await context.driver.suspend(instance);
        assert.equal((await context.driver.getInfo(instance)).state, "suspended");
      }
      for (const _again of [1, 2]) {
        await context.driver.resume(instance);
        assert.equal((await context.driver.getInfo(instance)).state, "running");
      }
    });
  });

  it("rejects for a stopped guest", async () => {
    await context.withInstance(
      (instance) => rejectsWith("INVALID_STATE", context.driver.suspend(instance)).then(() => undefined),
      { powerOn: false },
    );
  });

  it("removes the saved memory of a guest that is destroyed", async () => {
    await context.withInstance((instance) => context.driver.suspend(instance));
  });
};

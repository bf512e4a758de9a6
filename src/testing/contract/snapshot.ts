import assert from "node:assert/strict";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const snapshotContract: ContractPart = (context, it) => {
  if (!context.has("snapshots")) return;

  it("makes an image of a stopped guest that another can be spawned from", async () => {
    await context.withInstance(
      async (instance, spec) => {
        const imageId = `snapshot-${instance.uuid}`;
        const image = await context.driver.snapshot(instance, imageId).result;
        assert.equal(image.id, imageId);
        assert((image.virtualSizeBytes ?? 0) > 0);
        await context.withInstance(
          async (copy) => assert.equal((await context.driver.getInfo(copy)).state, "running"),
          { spec: { imageId, flavor: spec.flavor } },
        );
        await rejectsWith("CONFLICT", context.driver.snapshot(instance, imageId).result);
      },
      { powerOn: false },
    );
  });

  it("leaves a running guest running", async () => {
    await context.withInstance(
      async (instance) => {
        await context.driver.snapshot(instance, `running-${instance.uuid}`).result;
        assert.equal((await context.driver.getInfo(instance)).state, "running");
      },
      { booted: true },
    );
  });

  it("rejects for an instance that is not there", async () => {
    await rejectsWith("INSTANCE_NOT_FOUND", context.driver.snapshot(NOBODY, "nothing").result);
  });
};

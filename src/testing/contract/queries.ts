import assert from "node:assert/strict";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const queriesContract: ContractPart = (context, it) => {
  it("rejects reads of an instance that is not there", async () => {
    const { driver } = context;
    await rejectsWith("INSTANCE_NOT_FOUND", driver.getInfo(NOBODY));
    await rejectsWith("INSTANCE_NOT_FOUND", driver.getSpec(NOBODY));
    await rejectsWith("INSTANCE_NOT_FOUND", driver.getInstanceDiskInfo(NOBODY));
    assert.equal(await driver.instanceExists(NOBODY), false);
    assert.equal(await driver.instanceOnDisk(NOBODY), false);
  });

  it("gives back the spec, without secrets", async () => {
    await context.withInstance(
      async (instance, spec) => {
        const kept = await context.driver.getSpec(instance);
        assert.deepEqual(kept.flavor, spec.flavor);
        assert.deepEqual(kept.metadata, { role: "test" });
        assert.equal("adminPassword" in kept, false);
      },
      { powerOn: false, spec: { metadata: { role: "test" } } },
    );
  });

  it("tells of the instance's own disks", async () => {
    await context.withInstance(
      async (instance) => {
        const [root] = await context.driver.getInstanceDiskInfo(instance);
        assert.equal(root?.name, "root");
        assert(root.virtualSizeBytes > 0 && root.allocatedBytes >= 0 && root.overCommittedBytes >= 0);
      },
      { powerOn: false },
    );
  });

  it("counts the instances", async () => {
    const before = await context.driver.getNumInstances();
    await context.withInstance(
      async (instance) => {
        assert.equal(await context.driver.getNumInstances(), before + 1);
        assert(
          (await context.driver.listInstances()).some(
            ({ uuid, name }) => uuid === instance.uuid && name === instance.name,
          ),
        );
      },
      { powerOn: false },
    );
  });
};

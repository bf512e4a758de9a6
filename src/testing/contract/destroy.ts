import assert from "node:assert/strict";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const destroyContract: ContractPart = (context, it) => {
  it("succeeds for an instance that was never there", async () => {
    await context.leavingNothing(async () => {
      await context.driver.destroy(NOBODY);
      await context.driver.cleanup(NOBODY);
    });
  });

  it("takes down a running guest, and succeeds when called again", async () => {
    await context.withInstance(async (instance) => {
      await context.driver.destroy(instance);
      await rejectsWith("INSTANCE_NOT_FOUND", context.driver.getInfo(instance));
      assert.equal(await context.driver.instanceExists(instance), false);
      await context.driver.destroy(instance);
    });
  });

  it("removes what is left of a guest whose hypervisor process was killed", async () => {
    await context.withInstance(async (instance) => {
      await context.subject.crashGuest(instance);
      await context.driver.destroy(instance);
    });
  });

  it("does not clean up under a guest in memory", async () => {
    await context.withInstance(async (instance) => {
      await rejectsWith("INVALID_STATE", context.driver.cleanup(instance));
      await rejectsWith("INVALID_STATE", context.driver.deleteInstanceFiles(instance));
      assert.equal((await context.driver.getInfo(instance)).state, "running");
    });
  });

  it("keeps the disks when told to, for a later spawn", async () => {
    await context.withInstance(async (instance, spec) => {
      await context.driver.destroy(instance, { destroyDisks: false });
      assert(await context.driver.instanceOnDisk(instance));
      await context.driver.spawn(spec);
      assert.equal((await context.driver.getInfo(instance)).state, "running");
    });
  });

  it("gives the guest time to shut down by itself when told to", async () => {
    await context.withInstance((instance) => context.driver.destroy(instance, { graceMs: 60_000 }), { booted: true });
  });
};

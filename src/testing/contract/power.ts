import assert from "node:assert/strict";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const powerContract: ContractPart = (context, it) => {
  it("stops a guest that obeys, and says that it went by itself", async () => {
    await context.withInstance(
      async (instance) => {
        assert.deepEqual(await context.driver.powerOff(instance, { graceMs: 60_000 }), { how: "guest" });
        assert.equal((await context.driver.getInfo(instance)).state, "shutdown");
        assert.deepEqual(await context.driver.powerOff(instance), { how: "already" });
      },
      { booted: true },
    );
  });

  it("kills a guest that is given no time", async () => {
    await context.withInstance(async (instance) => {
      assert.deepEqual(await context.driver.powerOff(instance, { graceMs: 0 }), { how: "killed" });
      assert.equal((await context.driver.getInfo(instance)).state, "shutdown");
    });
  });

  it("starts a stopped guest again, and succeeds for one that runs", async () => {
    await context.withInstance(
      async (instance) => {
        await context.driver.powerOn(instance);
        assert.equal((await context.driver.getInfo(instance)).state, "running");
        await context.driver.powerOn(instance);
        assert.equal((await context.driver.getInfo(instance)).state, "running");
      },
      { powerOn: false },
    );
  });

  it("starts again a guest whose hypervisor process was killed", async () => {
    await context.withInstance(async (instance) => {
      await context.subject.crashGuest(instance);
      await context.driver.powerOn(instance);
      assert.equal((await context.driver.getInfo(instance)).state, "running");
    });
  });

  it("reboots softly a guest that obeys", async () => {
    await context.withInstance(
      async (instance) => {
        assert.deepEqual(await context.driver.reboot(instance, "soft", { graceMs: 60_000 }), { type: "soft" });
        assert.equal((await context.driver.getInfo(instance)).state, "running");
      },
      { booted: true },
    );
  });

  it("reboots hard, from running and from stopped", async () => {
    await context.withInstance(async (instance) => {
      assert.deepEqual(await context.driver.reboot(instance, "hard"), { type: "hard" });
      await context.driver.powerOff(instance, { graceMs: 0 });
      await context.driver.reboot(instance, "hard");
      assert.equal((await context.driver.getInfo(instance)).state, "running");
    });
  });

  it("brings a guest back after the host has booted, and leaves a running one alone", async () => {
    await context.withInstance(async (instance) => {
      const { startedAt } = await context.driver.getInfo(instance);
      await context.driver.resumeStateOnHostBoot(instance);
      assert.equal((await context.driver.getInfo(instance)).startedAt, startedAt);
      await context.subject.crashGuest(instance);
      await context.driver.resumeStateOnHostBoot(instance);
      assert.equal((await context.driver.getInfo(instance)).state, "running");
    });
  });

  it("rejects for an instance that is not there", async () => {
    await rejectsWith("INSTANCE_NOT_FOUND", context.driver.powerOn(NOBODY));
    await rejectsWith("INSTANCE_NOT_FOUND", context.driver.powerOff(NOBODY));
    await rejectsWith("INSTANCE_NOT_FOUND", context.driver.reboot(NOBODY, "hard"));
    await rejectsWith("INSTANCE_NOT_FOUND", context.driver.reboot(NOBODY, "soft"));
  });
};

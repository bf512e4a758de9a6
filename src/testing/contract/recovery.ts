import assert from "node:assert/strict";
import { rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const recoveryContract: ContractPart = (context, it) => {
  it("finds its guests again after its process has died", async () => {
    await context.withInstance(async (instance) => {
      const { startedAt } = await context.driver.getInfo(instance);
      const report = await context.restart();
      assert(
        report.adopted.some(({ uuid }) => uuid === instance.uuid),
        "adopted",
      );
      const info = await context.driver.getInfo(instance);
      assert.equal(info.state, "running");
      assert.equal(info.startedAt, startedAt);
      await context.driver.powerOff(instance, { graceMs: 0 });
      await context.driver.powerOn(instance);
    });
  });

  it("reports a guest that died while nobody looked", async () => {
    await context.withInstance(async (instance) => {
      const { subject } = context;
      await context.driver.close();
      await subject.crashGuest(instance);
      const report = await context.restart();
      assert(
        report.lost.some(({ uuid }) => uuid === instance.uuid),
        "lost",
      );
      assert.match((await context.driver.getInfo(instance)).state, /^(crashed|shutdown)$/);
    });
  });

  it("leaves nothing of a spawn that its process died in", async () => {
    await context.leavingNothing(async () => {
      const spec = context.subject.spec();
      let reached: () => void = () => undefined;
      const midway = new Promise<void>((resolve) => (reached = resolve));
      const spawning = context.driver
        .spawn(spec, {
          onProgress: ({ phase }) => {
            if (phase === "define" || phase === "boot") reached();
          },
        })
        .catch(() => undefined);
      await Promise.race([midway, spawning]);
      await context.restart();
      await Promise.race([spawning, Promise.resolve()]);
      await context.driver.destroy(spec);
    });
  });

  it("is closed when it is closed", async () => {
    const { driver } = context;
    await driver.close();
    await driver.close();
    await rejectsWith("CLOSED", driver.listInstances());
    await context.restart();
  });
};

import assert from "node:assert/strict";
import { rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const concurrencyContract: ContractPart = (context, it) => {
  it("runs operations on one instance one after the other, in the order of the calls", async () => {
    await context.withInstance(
      async (instance) => {
        const order: string[] = [];
        const noting = (name: string, work: Promise<unknown>): Promise<unknown> => work.then(() => order.push(name));
        await Promise.all([
          noting("on", context.driver.powerOn(instance)),
          noting("off", context.driver.powerOff(instance, { graceMs: 0 })),
          noting("on again", context.driver.powerOn(instance)),
        ]);
        assert.deepEqual(order, ["on", "off", "on again"]);
        assert.equal((await context.driver.getInfo(instance)).state, "running");
      },
      { powerOn: false },
    );
  });

  it("lets one who waits go away without a trace", async () => {
    await context.withInstance(
      async (instance) => {
        const controller = new AbortController();
        const first = context.driver.powerOn(instance);
        const second = context.driver.powerOff(instance, { graceMs: 0, signal: controller.signal });
        controller.abort();
        await rejectsWith("ABORTED", second);
        await first;
        assert.equal((await context.driver.getInfo(instance)).state, "running");
      },
      { powerOn: false },
    );
  });

  it("answers questions while an operation runs", async () => {
    await context.withInstance(
      async (instance) => {
        const starting = context.driver.powerOn(instance);
        const { busy } = await context.driver.getInfo(instance);
        assert.equal(typeof busy, "boolean");
        await starting;
      },
      { powerOn: false },
    );
  });

  it("makes one of two that spawn the same instance at once", async () => {
    await context.leavingNothing(async () => {
      const spec = context.subject.spec();
      const outcomes = await Promise.allSettled([context.driver.spawn(spec), context.driver.spawn(spec)]);
      assert.deepEqual(outcomes.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
      await context.driver.destroy(spec);
    });
  });
};

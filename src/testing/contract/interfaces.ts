import assert from "node:assert/strict";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const interfacesContract: ContractPart = (context, it) => {
  if (!context.has("interfaces")) return;

  it("attaches a port to a running guest and takes it out again; second calls succeed", async () => {
    const vif = context.subject.vif();
    await context.withInstance(
      async (instance) => {
        const attached = await context.driver.attachInterface(instance, vif);
        assert.equal(attached.macAddress, vif.macAddress);
        assert.deepEqual(await context.driver.attachInterface(instance, vif), attached);
        assert((await context.driver.listInterfaces(instance)).some(({ id }) => id === attached.id));
        for (const _again of [1, 2]) await context.driver.detachInterface(instance, vif);
        assert.equal(
          (await context.driver.listInterfaces(instance)).some(({ id }) => id === attached.id),
          false,
        );
      },
      { booted: true },
    );
  });

  it("attaches to a stopped guest, which then starts with the port", async () => {
    const vif = context.subject.vif();
    await context.withInstance(
      async (instance) => {
        await context.driver.attachInterface(instance, vif);
        await context.driver.powerOn(instance);
        assert((await context.driver.listInterfaces(instance)).some(({ macAddress }) => macAddress === vif.macAddress));
      },
      { powerOn: false },
    );
  });

  it("refuses a MAC address that is taken", async () => {
    const vif = context.subject.vif();
    await context.withInstance(
      async (instance) => {
        await context.driver.attachInterface(instance, vif);
        await rejectsWith(
          "CONFLICT",
          context.driver.attachInterface(instance, { ...context.subject.vif(), macAddress: vif.macAddress }),
        );
      },
      { powerOn: false },
    );
  });

  it("detaches what is not attached, from an instance that is not there", async () => {
    const vif = context.subject.vif();
    await context.driver.detachInterface(NOBODY, vif);
    await context.withInstance((instance) => context.driver.detachInterface(instance, vif), { powerOn: false });
    await rejectsWith("INSTANCE_NOT_FOUND", context.driver.attachInterface(NOBODY, vif));
  });

  it("plugs and unplugs all ports of a stopped guest, and none of a running one", async () => {
    await context.withInstance(async (instance) => {
      await rejectsWith("INVALID_STATE", context.driver.unplugVifs(instance));
      await context.driver.plugVifs(instance);
      await context.driver.powerOff(instance, { graceMs: 0 });
      for (const _again of [1, 2]) await context.driver.unplugVifs(instance);
      for (const _again of [1, 2]) await context.driver.plugVifs(instance);
    });
  });
};

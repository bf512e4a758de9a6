import assert from "node:assert/strict";
import type { InstanceRef } from "../../driver/index.js";
import { rejectsWith } from "./context.js";
import type { ContractContext } from "./context.js";
import type { ContractPart } from "./part.js";

/** A driver without config drives refuses them, whatever else is asked of it. */
export const configDriveContract: ContractPart = (context, it) => {
  it("has a config drive by its flag, and refuses it otherwise with nothing left", async () => {
    const spec = context.subject.spec({ configDrive: { userData: "#!/bin/sh\n" }, adminPassword: "correct horse" });
    if (context.driver.capabilities.flags.configDrive) {
      await withDrive(context, async (instance) => {
        assert.deepEqual(await ownDrives(context, instance), ["config"]);
        const { configDrive, ...kept } = await context.driver.getSpec(instance);
        assert.equal(configDrive?.userData, "#!/bin/sh\n");
        assert.equal("adminPassword" in kept, false);
      });
    } else {
      await context.leavingNothing(async () => {
        await rejectsWith("NOT_SUPPORTED", context.driver.spawn(spec));
      });
    }
  });

  it("refuses a bad config drive at the door", async () => {
    await context.leavingNothing(async () => {
      for (const configDrive of [{ hostname: "a b" }, { userData: "x".repeat(65_536) }, { publicKeys: { a: "b\nc" } }])
        await rejectsWith("INVALID_ARGUMENT", context.driver.spawn(context.subject.spec({ configDrive })));
    });
  });

  it("finds the config drive again after a restart, and at a hard reboot", async () => {
    if (!context.driver.capabilities.flags.configDrive) return;
    await withDrive(context, async (instance) => {
      await context.restart();
      assert.deepEqual(await ownDrives(context, instance), ["config"]);
      await context.driver.reboot(instance, "hard");
      assert.equal((await context.driver.getInfo(instance)).state, "running");
      assert.deepEqual(await ownDrives(context, instance), ["config"]);
    });
  });

  it("gives a rescued guest a config drive of the rescue's", async () => {
    if (!context.driver.capabilities.flags.configDrive || !context.has("rescue")) return;
    await withDrive(context, async (instance) => {
      await context.driver.rescue(instance, { imageId: context.subject.otherImageId, adminPassword: "correct horse" });
      assert.deepEqual(await ownDrives(context, instance), ["config", "config.rescue"]);
      await context.driver.unrescue(instance);
      assert.deepEqual(await ownDrives(context, instance), ["config"]);
    });
  });

  it("makes the config drive anew when the instance is rebuilt", async () => {
    if (!context.driver.capabilities.flags.configDrive || !context.has("rebuild")) return;
    await withDrive(context, async (instance) => {
      await context.driver.rebuild(instance, context.subject.otherImageId, { adminPassword: "another" });
      assert.deepEqual(await ownDrives(context, instance), ["config"]);
    });
  });
};

function withDrive(context: ContractContext, body: (instance: InstanceRef) => Promise<void>): Promise<void> {
  return context.withInstance(body, {
    spec: { configDrive: { userData: "#!/bin/sh\n" }, adminPassword: "correct horse" },
  });
}

/** Names of the config drives that the host keeps for the instance. */
async function ownDrives({ driver }: ContractContext, instance: InstanceRef): Promise<readonly string[]> {
  const disks = await driver.getInstanceDiskInfo(instance);
  return disks
    .map(({ name }) => name)
    .filter((name) => name.startsWith("config"))
    .sort();
}

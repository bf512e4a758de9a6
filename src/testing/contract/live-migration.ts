import assert from "node:assert/strict";
import { liveMigrate, withAllFacets } from "../../driver/index.js";
import type { AllFacets, ComputeDriver, InstanceRef, LiveMigrateData } from "../../driver/index.js";
import { rejectsWith } from "./context.js";
import type { ContractContext } from "./context.js";
import type { ContractPart } from "./part.js";

type Driver = ComputeDriver & AllFacets;

/** Opens a second host for the body, which must leave both as they were. */
async function withDestination(context: ContractContext, body: (destination: Driver) => Promise<void>): Promise<void> {
  const destination = await context.subject.destination?.();
  assert(destination !== undefined, "a subject whose driver has the facet `liveMigration` needs `destination`");
  try {
    await destination.driver.initHost();
    await context.leavingNothing(() => body(withAllFacets(destination.driver)));
  } finally {
    await destination.dispose();
  }
}

async function prepare(source: Driver, destination: Driver, instance: InstanceRef): Promise<LiveMigrateData> {
  const asked = await source.checkCanLiveMigrateSource(instance);
  const answered = await destination.checkCanLiveMigrateDestination(instance, asked);
  const checked = await source.checkCanLiveMigrateSource(instance, answered);
  await destination.cleanupLiveMigrationDestinationCheck(checked);
  return destination.preLiveMigration(instance, checked);
}

/** Both hosts may be one machine, which can't have a port twice. */
const WITHOUT_PORTS = { vifs: [] } as const;

export const liveMigrationContract: ContractPart = (context, it) => {
  if (!context.has("liveMigration")) return;

  it("moves a running instance, of which nothing is left on the source", async () => {
    await withDestination(context, async (destination) => {
      const spec = context.subject.spec(WITHOUT_PORTS);
      const instance = { uuid: spec.uuid, name: spec.name };
      try {
        await context.driver.spawn(spec);
        await context.subject.waitUntilBooted(context.driver, instance);
        await liveMigrate(context.driver, destination, instance).result;
        await rejectsWith("INSTANCE_NOT_FOUND", context.driver.getInfo(instance));
        const { state, task } = await destination.getInfo(instance);
        assert.deepEqual({ state, task }, { state: "running", task: "none" });
        await destination.reboot(instance, "hard");
      } finally {
        await destination.destroy(instance);
        await context.driver.destroy(instance);
      }
    });
  });

  it("keeps the instance when the destination was prepared in vain; what is repeated succeeds", async () => {
    await withDestination(context, async (destination) => {
      await context.withInstance(
        async (instance) => {
          const data = await prepare(context.driver, destination, instance);
          for (const _again of [1, 2]) {
            await destination.rollbackLiveMigrationAtDestination(instance, data);
            await context.driver.rollbackLiveMigrationAtSource(instance, data);
          }
          await rejectsWith("INSTANCE_NOT_FOUND", destination.getInfo(instance));
          const { state, task } = await context.driver.getInfo(instance);
          assert.deepEqual({ state, task }, { state: "running", task: "none" });
        },
        { spec: WITHOUT_PORTS },
      );
    });
  });

  it("rejects for an instance that is not in memory, and for one that is not being migrated", async () => {
    await context.withInstance(
      async (instance) => {
        await rejectsWith("INVALID_STATE", context.driver.checkCanLiveMigrateSource(instance));
        await rejectsWith("NO_ACTIVE_MIGRATION", context.driver.liveMigrationAbort(instance));
        await rejectsWith("NO_ACTIVE_MIGRATION", context.driver.liveMigrationForceComplete(instance));
      },
      { powerOn: false },
    );
  });
};

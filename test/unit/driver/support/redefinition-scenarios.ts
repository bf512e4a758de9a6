/** Operations that give a guest another definition, copy its disks, or move its memory. */
import type { InstanceRef } from "../../../../src/driver/index.js";
import type { Scenario, Stage } from "./scenarios.js";
import { instance } from "./scenarios.js";
import { connection, fullSpec } from "./specs.js";

const LARGE = { ...fullSpec().flavor, name: "large", memoryMiB: 1024, rootGiB: 8, swapMiB: 64 };

async function running({ driver }: Stage): Promise<InstanceRef> {
  return (await driver.spawn(fullSpec())).instance;
}
const after =
  (then: (stage: Stage) => Promise<unknown>) =>
  async (stage: Stage): Promise<void> => {
    await running(stage);
    await then(stage);
  };
const justRunning = after(() => Promise.resolve());

export const REDEFINITION_SCENARIOS: readonly Scenario[] = [
  {
    name: "suspend",
    failure: "undone",
    arrange: justRunning,
    act: ({ driver }, options) => driver.suspend(instance, options),
  },
  {
    name: "resume",
    failure: "undone",
    arrange: after(({ driver }) => driver.suspend(instance)),
    act: ({ driver }, options) => driver.resume(instance, options),
  },
  {
    name: "rescue",
    failure: "undone",
    arrange: justRunning,
    act: ({ driver }, options) => driver.rescue(instance, { ...options, imageId: "rescue" }),
  },
  {
    name: "unrescue",
    failure: "settling",
    arrange: after(({ driver }) => driver.rescue(instance)),
    act: ({ driver }, options) => driver.unrescue(instance, options),
  },
  {
    name: "rebuild",
    failure: "settling",
    arrange: justRunning,
    act: ({ driver }, options) => driver.rebuild(instance, "debian", options),
  },
  {
    name: "live snapshot",
    failure: "undone",
    arrange: justRunning,
    act: ({ driver }, options) => driver.snapshot(instance, "snap-1", options).result,
  },
  {
    name: "cold snapshot",
    failure: "undone",
    arrange: justRunning,
    act: ({ driver }, options) => driver.snapshot(instance, "snap-1", { ...options, mode: "cold" }).result,
  },
  {
    name: "resize",
    failure: "undone",
    arrange: justRunning,
    act: ({ driver }, options) => driver.resize(instance, LARGE, options).result,
  },
  {
    name: "migrateDiskAndPowerOff",
    failure: "undone",
    arrange: justRunning,
    act: ({ driver }, options) =>
      driver.migrateDiskAndPowerOff(instance, LARGE, { ...options, destination: "shared-storage" }),
  },
  {
    name: "confirmMigration",
    failure: "forward",
    arrange: after(({ driver }) => driver.resize(instance, LARGE).result),
    act: ({ driver }, options) => driver.confirmMigration(instance, options),
  },
  {
    name: "finishRevertMigration",
    failure: "forward",
    arrange: after(({ driver }) => driver.resize(instance, LARGE).result),
    act: ({ driver }, options) => driver.finishRevertMigration(instance, options),
  },
  {
    name: "swapVolume",
    failure: "settling",
    arrange: justRunning,
    act: ({ driver }, options) => driver.swapVolume(instance, connection("vol-1"), connection("vol-3"), options),
  },
  {
    name: "extendVolume",
    failure: "undone",
    arrange: justRunning,
    act: ({ driver }, options) => driver.extendVolume(instance, connection("vol-1"), 2 ** 33, options),
  },
];

/** Operations on an instance with a config drive. */
import type { InstanceSpec } from "../../../../src/driver/index.js";
import type { Scenario, Stage } from "./scenarios.js";
import { instance } from "./scenarios.js";
import { smallSpec } from "./specs.js";

export function driveSpec(changes: Partial<InstanceSpec> = {}): InstanceSpec {
  return smallSpec({
    flavor: { vcpus: 1, memoryMiB: 512, rootGiB: 2, swapMiB: 64 },
    configDrive: { userData: "#!/bin/sh\ntrue\n", publicKeys: { ours: "ssh-ed25519 AAAA ours" } },
    ...changes,
  });
}

async function running({ driver }: Stage): Promise<void> {
  await driver.spawn(driveSpec({ adminPassword: "hunter2" }));
}

export const CONFIG_DRIVE_SCENARIOS: readonly Scenario[] = [
  {
    name: "spawn with a config drive",
    failure: "undone",
    act: ({ driver }, options) => driver.spawn(driveSpec({ adminPassword: "hunter2" }), options),
  },
  {
    name: "rescue with a config drive",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.rescue(instance, { ...options, imageId: "rescue", adminPassword: "other" }),
  },
  {
    name: "unrescue with a config drive",
    failure: "settling",
    arrange: async (stage) => {
      await running(stage);
      await stage.driver.rescue(instance);
    },
    act: ({ driver }, options) => driver.unrescue(instance, options),
  },
  {
    name: "rebuild with a config drive",
    failure: "settling",
    arrange: running,
    act: ({ driver }, options) => driver.rebuild(instance, "debian", { ...options, adminPassword: "other" }),
  },
];

// Operations of a LibvirtDriver, each from the state that it starts from.
import type { OperationOptions } from "../../../../../src/core/index.js";
import { blockDevice, smallSpec, vif } from "../../../driver/support/specs.js";
import { CONSOLE_SCENARIOS } from "./console-scenarios.js";
import { HOTPLUG_SCENARIOS } from "./hotplug-scenarios.js";
import { LIFE_CYCLE_SCENARIOS } from "./life-cycle-scenarios.js";
import { instance } from "./libvirt-stage.js";
import type { LibvirtStage } from "./libvirt-stage.js";

export interface RpcScenario {
  readonly name: string;
  arrange?(stage: LibvirtStage): Promise<void>;
  act(stage: LibvirtStage, options: OperationOptions): Promise<unknown>;
  /**
   * `undone`: on failure all is as before. `settling`: the same, but for a caller that gives up while the guest is being asked for what it alone can do.
   * `forward`: it goes only on, or does so from some point on. After each a repeated call ends where the first would have.
   */
  readonly failure: "undone" | "settling" | "forward";
  /** What a repeated call says when the first one got to its end after all. */
  readonly doneAlready?: readonly string[];
}

async function running({ driver }: LibvirtStage): Promise<void> {
  await driver.spawn(smallSpec());
}
async function stopped({ driver }: LibvirtStage): Promise<void> {
  await driver.spawn(smallSpec(), { powerOn: false });
}
async function paused(stage: LibvirtStage): Promise<void> {
  await running(stage);
  await stage.driver.pause(instance);
}

export const RPC_SCENARIOS: readonly RpcScenario[] = [
  ...HOTPLUG_SCENARIOS,
  ...CONSOLE_SCENARIOS,
  ...LIFE_CYCLE_SCENARIOS,
  {
    name: "spawn",
    failure: "undone",
    doneAlready: ["INSTANCE_EXISTS"],
    act: ({ driver }, options) => driver.spawn(smallSpec(), options),
  },
  {
    name: "destroy",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.destroy(instance, options),
  },
  {
    name: "powerOff",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.powerOff(instance, options),
  },
  {
    name: "powerOff without a grace",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.powerOff(instance, { ...options, graceMs: 0 }),
  },
  {
    name: "powerOn",
    failure: "undone",
    arrange: stopped,
    act: ({ driver }, options) => driver.powerOn(instance, options),
  },
  {
    name: "pause",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.pause(instance, options),
  },
  {
    name: "unpause",
    failure: "forward",
    arrange: paused,
    act: ({ driver }, options) => driver.unpause(instance, options),
  },
  {
    name: "reboot",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.reboot(instance, "hard", options),
  },
  {
    name: "attachVolume",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.attachVolume(instance, blockDevice("vol-2").connection, options),
  },
  {
    name: "attachInterface",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.attachInterface(instance, vif(2), options),
  },
];

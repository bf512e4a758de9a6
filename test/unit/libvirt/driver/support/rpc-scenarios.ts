// Operations of a LibvirtDriver, each from the state that it starts from.
import { blockDevice, smallSpec, vif } from "../../../driver/support/specs.js";
import { CONSOLE_SCENARIOS } from "./console-scenarios.js";
import { HOTPLUG_SCENARIOS } from "./hotplug-scenarios.js";
import { instance } from "./libvirt-stage.js";
import type { LibvirtStage } from "./libvirt-stage.js";

export interface RpcScenario {
  readonly name: string;
  arrange?(stage: LibvirtStage): Promise<void>;
  act(stage: LibvirtStage): Promise<unknown>;
  /** `undone`: on failure all is as before. `forward`: it goes only on; a repeated call ends where the first would have. */
  readonly failure: "undone" | "forward";
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
  {
    name: "spawn",
    failure: "undone",
    doneAlready: ["INSTANCE_EXISTS"],
    act: ({ driver }) => driver.spawn(smallSpec()),
  },
  { name: "destroy", failure: "forward", arrange: running, act: ({ driver }) => driver.destroy(instance) },
  { name: "powerOff", failure: "forward", arrange: running, act: ({ driver }) => driver.powerOff(instance) },
  {
    name: "powerOff without a grace",
    failure: "forward",
    arrange: running,
    act: ({ driver }) => driver.powerOff(instance, { graceMs: 0 }),
  },
  { name: "powerOn", failure: "undone", arrange: stopped, act: ({ driver }) => driver.powerOn(instance) },
  { name: "pause", failure: "forward", arrange: running, act: ({ driver }) => driver.pause(instance) },
  { name: "unpause", failure: "forward", arrange: paused, act: ({ driver }) => driver.unpause(instance) },
  { name: "reboot", failure: "forward", arrange: running, act: ({ driver }) => driver.reboot(instance, "hard") },
  {
    name: "attachVolume",
    failure: "undone",
    arrange: running,
    act: ({ driver }) => driver.attachVolume(instance, blockDevice("vol-2").connection),
  },
  {
    name: "attachInterface",
    failure: "undone",
    arrange: running,
    act: ({ driver }) => driver.attachInterface(instance, vif(2)),
  },
];

// What a LibvirtDriver does to a guest's consoles, agent and memory, each from the state that it starts from.
import { smallSpec } from "../../../driver/support/specs.js";
import { instance } from "./libvirt-stage.js";
import type { LibvirtStage } from "./libvirt-stage.js";
import type { RpcScenario } from "./rpc-scenarios.js";

async function running({ driver }: LibvirtStage): Promise<void> {
  await driver.spawn(smallSpec({ hardware: { vnc: { address: "127.0.0.1", passwordRequired: true } } }));
}
async function suspended(stage: LibvirtStage): Promise<void> {
  await running(stage);
  await stage.driver.suspend(instance);
}

export const CONSOLE_SCENARIOS: readonly RpcScenario[] = [
  {
    name: "suspend",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.suspend(instance, options),
  },
  {
    name: "resume",
    failure: "undone",
    arrange: suspended,
    act: ({ driver }, options) => driver.resume(instance, options),
  },
  {
    name: "destroy of a suspended guest",
    failure: "forward",
    arrange: suspended,
    act: ({ driver }, options) => driver.destroy(instance, options),
  },
  {
    name: "setConsolePassword",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.setConsolePassword(instance, "vnc", "sesame", options),
  },
  {
    name: "triggerCrashDump",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.triggerCrashDump(instance, options),
  },
  {
    name: "consoles and counters",
    failure: "undone",
    arrange: running,
    act: async ({ driver }) => {
      await driver.getVncConsole(instance);
      await driver.takeScreenshot(instance);
      await driver.getDiagnostics(instance);
      const stream = await driver.openConsole(instance);
      const closed = new Promise<void>((resolve) => stream.once("close", resolve));
      stream.destroy();
      await closed;
    },
  },
];

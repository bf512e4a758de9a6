// What a LibvirtDriver does that gives a guest another definition, or brings it back, each from the state that it starts from.
import { Secret } from "../../../../../src/core/index.js";
import { blockDevice, connection, smallSpec } from "../../../driver/support/specs.js";
import { instance } from "./libvirt-stage.js";
import type { LibvirtStage } from "./libvirt-stage.js";
import type { RpcScenario } from "./rpc-scenarios.js";

const LARGE = { vcpus: 2, memoryMiB: 1024, rootGiB: 2 };
const ENCRYPTED = connection("vol-2", { encryption: { format: "luks", secretId: "key" } });

async function running({ driver }: LibvirtStage): Promise<void> {
  await driver.spawn(smallSpec());
}
const after =
  (then: (stage: LibvirtStage) => Promise<unknown>) =>
  async (stage: LibvirtStage): Promise<void> => {
    await running(stage);
    await then(stage);
  };
const stopped = after(({ driver }) => driver.powerOff(instance, { graceMs: 0 }));
const suspended = after(({ driver }) => driver.suspend(instance));
const rescued = after(({ driver }) => driver.rescue(instance));
const resized = after(({ driver }) => driver.resize(instance, LARGE).result);
const crashed = after(async ({ driver, host }) => {
  const events = driver.events();
  host.crashGuest(instance.uuid);
  for await (const event of events) if (event.type === "lifecycle" && event.transition === "crashed") return;
});

export const LIFE_CYCLE_SCENARIOS: readonly RpcScenario[] = [
  {
    name: "spawn of a guest that is not started",
    failure: "undone",
    doneAlready: ["INSTANCE_EXISTS"],
    act: ({ driver }, options) => driver.spawn(smallSpec(), { ...options, powerOn: false }),
  },
  {
    name: "spawn with an encrypted volume",
    failure: "undone",
    doneAlready: ["INSTANCE_EXISTS"],
    arrange: ({ secrets }) => secrets.put("key", Secret.of("sesame")),
    act: ({ driver }, options) => driver.spawn(smallSpec({ blockDevices: [{ connection: ENCRYPTED }] }), options),
  },
  {
    name: "attachVolume of an encrypted one",
    failure: "undone",
    arrange: async (stage) => {
      await stage.secrets.put("key", Secret.of("sesame"));
      await running(stage);
    },
    act: ({ driver }, options) => driver.attachVolume(instance, ENCRYPTED, options),
  },
  {
    name: "detachVolume of an encrypted one",
    failure: "settling",
    arrange: async (stage) => {
      await stage.secrets.put("key", Secret.of("sesame"));
      await running(stage);
      await stage.driver.attachVolume(instance, ENCRYPTED);
    },
    act: ({ driver }, options) => driver.detachVolume(instance, ENCRYPTED, options),
  },
  {
    name: "destroy with a grace, keeping the disks",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.destroy(instance, { ...options, graceMs: 300, destroyDisks: false }),
  },
  {
    name: "destroy of a rescued guest",
    failure: "forward",
    arrange: rescued,
    act: ({ driver }, options) => driver.destroy(instance, options),
  },
  {
    name: "cleanup",
    failure: "forward",
    arrange: stopped,
    act: ({ driver }, options) => driver.cleanup(instance, options),
  },
  {
    name: "powerOn of a suspended guest",
    failure: "undone",
    arrange: suspended,
    act: ({ driver }, options) => driver.powerOn(instance, options),
  },
  {
    name: "reboot of a suspended guest",
    failure: "forward",
    arrange: suspended,
    act: ({ driver }, options) => driver.reboot(instance, "hard", options),
  },
  {
    name: "soft reboot",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.reboot(instance, "soft", options),
  },
  {
    name: "resumeStateOnHostBoot",
    failure: "undone",
    arrange: crashed,
    act: ({ driver }, options) => driver.resumeStateOnHostBoot(instance, options),
  },
  {
    name: "rescue",
    failure: "undone",
    doneAlready: ["INVALID_STATE"],
    arrange: running,
    act: ({ driver }, options) => driver.rescue(instance, { ...options, imageId: "rescue" }),
  },
  {
    name: "rescue of a stopped guest",
    failure: "undone",
    doneAlready: ["INVALID_STATE"],
    arrange: stopped,
    act: ({ driver }, options) => driver.rescue(instance, options),
  },
  {
    name: "unrescue",
    failure: "forward",
    arrange: rescued,
    act: ({ driver }, options) => driver.unrescue(instance, options),
  },
  {
    name: "rebuild",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.rebuild(instance, "rescue", options),
  },
  {
    name: "resize",
    failure: "undone",
    doneAlready: ["INVALID_STATE"],
    arrange: running,
    act: ({ driver }, options) => driver.resize(instance, LARGE, options).result,
  },
  {
    name: "migrateDiskAndPowerOff",
    failure: "undone",
    doneAlready: ["INVALID_STATE"],
    arrange: running,
    act: ({ driver }, options) =>
      driver.migrateDiskAndPowerOff(instance, LARGE, { ...options, destination: "shared-storage" }),
  },
  {
    name: "confirmMigration",
    failure: "forward",
    arrange: resized,
    act: ({ driver }, options) => driver.confirmMigration(instance, options),
  },
  {
    name: "finishRevertMigration",
    failure: "forward",
    // What has passed its point of no return is finished by the next call, which then has nothing to do.
    doneAlready: ["INVALID_STATE"],
    arrange: resized,
    act: ({ driver }, options) => driver.finishRevertMigration(instance, options),
  },
  {
    name: "snapshot of a stopped guest",
    failure: "undone",
    doneAlready: ["CONFLICT"],
    arrange: stopped,
    act: ({ driver }, options) => driver.snapshot(instance, "snap-1", options).result,
  },
  {
    name: "snapshot of a guest that is stopped for it",
    failure: "undone",
    doneAlready: ["CONFLICT"],
    arrange: running,
    act: ({ driver }, options) => driver.snapshot(instance, "snap-1", { ...options, mode: "cold" }).result,
  },
  {
    name: "extendVolume",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.extendVolume(instance, connection("vol-1"), 2 ** 33, options),
  },
  {
    name: "setBalloon",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.setBalloon(instance, 256, options),
  },
  {
    name: "setAdminPassword",
    failure: "undone",
    arrange: async ({ driver }) => {
      await driver.spawn(smallSpec({ guestAgent: true }));
    },
    act: ({ driver }, options) => driver.setAdminPassword(instance, "sesame", options),
  },
  {
    name: "quiesce and unquiesce",
    failure: "forward",
    arrange: async ({ driver }) => {
      await driver.spawn(smallSpec({ guestAgent: true }));
    },
    act: async ({ driver }, options) => {
      await driver.quiesce(instance, options);
      await driver.unquiesce(instance, options);
    },
  },
  {
    name: "detach and attach of all ports of a stopped guest",
    failure: "forward",
    arrange: stopped,
    act: async ({ driver }, options) => {
      await driver.unplugVifs(instance);
      await driver.plugVifs(instance, options);
    },
  },
  {
    name: "spawn with several volumes",
    failure: "undone",
    doneAlready: ["INSTANCE_EXISTS"],
    act: ({ driver }, options) =>
      driver.spawn(smallSpec({ blockDevices: [blockDevice("vol-1"), blockDevice("vol-3", { bus: "scsi" })] }), options),
  },
];

/** Operations that change a guest's machine, make files of it, or start it from a template. */
import type { InstanceSpec } from "../../../../src/driver/index.js";
import type { Scenario, Stage } from "./scenarios.js";
import { instance } from "./scenarios.js";
import { connection, smallSpec, vif } from "./specs.js";

/** Of an embedder's directory, on the world's storage. */
export const EXPORTS = "/fake/exports";
const TEMPLATE = `${EXPORTS}/template`;

/** With room for more of everything, a drive, and a device. */
export function roomySpec(changes: Partial<InstanceSpec> = {}): InstanceSpec {
  return smallSpec({
    flavor: { vcpus: 2, memoryMiB: 512, rootGiB: 1 },
    hardware: {
      cpu: { maxVcpus: 8 },
      memory: { maxMiB: 4096 },
      devices: [{ type: "usbInput", id: "tablet", model: "tablet" }],
    },
    blockDevices: [
      { connection: connection("vol-1") },
      { connection: connection("vol-2"), deviceType: "cdrom", bus: "sata", deviceName: "sda" },
      { deviceType: "cdrom", bus: "sata", deviceName: "sdb" },
    ],
    ...changes,
  });
}

/** What can be a template: no volume is in it. */
export function sourceSpec(changes: Partial<InstanceSpec> = {}): InstanceSpec {
  const { blockDevices: _blockDevices, ...spec } = roomySpec({
    flavor: { vcpus: 2, memoryMiB: 512, rootGiB: 1, swapMiB: 64 },
  });
  return { ...spec, ...changes };
}

/** The instance of the scenarios, as a clone of another. */
export const SOURCE = { uuid: "77777777-2222-4333-8444-555555555555", name: "golden" } as const;

const after =
  (then: (stage: Stage) => Promise<unknown>) =>
  async (stage: Stage): Promise<void> => {
    await stage.driver.spawn(roomySpec());
    await then(stage);
  };
const running = after(() => Promise.resolve());
const stopped = after(({ driver }) => driver.powerOff(instance, { graceMs: 0 }));

async function templateSaved({ driver }: Stage): Promise<void> {
  await driver.spawn(sourceSpec({ ...SOURCE, vifs: [vif(3)] }));
  await driver.saveTemplate(SOURCE, TEMPLATE).result;
  await driver.destroy(SOURCE);
}

export const HARDWARE_SCENARIOS: readonly Scenario[] = [
  {
    name: "setVcpus, more",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.setVcpus(instance, 6, options),
  },
  {
    name: "setVcpus, fewer",
    failure: "undone",
    arrange: after(({ driver }) => driver.setVcpus(instance, 6)),
    act: ({ driver }, options) => driver.setVcpus(instance, 1, options),
  },
  {
    name: "setVcpus of a stopped guest",
    failure: "undone",
    arrange: stopped,
    act: ({ driver }, options) => driver.setVcpus(instance, 6, options),
  },
  {
    name: "setMemory, more",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.setMemory(instance, 2048, options),
  },
  {
    name: "setMemory of a stopped guest",
    failure: "undone",
    arrange: stopped,
    act: ({ driver }, options) => driver.setMemory(instance, 256, options),
  },
  {
    name: "setBalloon",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.setBalloon(instance, 256, options),
  },
  {
    name: "attachDevice",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) =>
      driver.attachDevice(instance, { type: "pciHost", id: "gpu", address: "0000:3b:00.0" }, options),
  },
  {
    name: "detachDevice",
    failure: "settling",
    arrange: running,
    act: ({ driver }, options) => driver.detachDevice(instance, "tablet", options),
  },
  {
    name: "detachDevice from a stopped guest",
    failure: "settling",
    arrange: stopped,
    act: ({ driver }, options) => driver.detachDevice(instance, "tablet", options),
  },
  {
    name: "changeMedium, to another",
    failure: "settling",
    arrange: running,
    act: ({ driver }, options) => driver.changeMedium(instance, "drive-sda", connection("vol-3"), options),
  },
  {
    name: "changeMedium, into an empty drive of a stopped guest",
    failure: "settling",
    arrange: stopped,
    act: ({ driver }, options) => driver.changeMedium(instance, "drive-sdb", connection("vol-3"), options),
  },
  {
    name: "changeMedium, out",
    failure: "settling",
    arrange: running,
    act: ({ driver }, options) => driver.changeMedium(instance, "drive-sda", undefined, options),
  },
  {
    name: "setDiskLimits",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.setDiskLimits(instance, "root", { totalBytesPerSecond: 1_000_000 }, options),
  },
  {
    name: "setDiskLimits of a volume, in place of others",
    failure: "undone",
    arrange: after(({ driver }) => driver.setDiskLimits(instance, "volume-vol-1", { readOperationsPerSecond: 10 })),
    act: ({ driver }, options) => driver.setDiskLimits(instance, "volume-vol-1", {}, options),
  },
  {
    name: "backup",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.backup(instance, { directory: EXPORTS, checkpoint: "monday" }, options).result,
  },
  {
    name: "backup of what has changed",
    failure: "undone",
    arrange: after(({ driver }) => driver.backup(instance, { directory: EXPORTS, checkpoint: "monday" }).result),
    act: ({ driver }, options) => {
      const disks = ["root", "volume-vol-1"].map((diskId) => ({ diskId, path: `${EXPORTS}/${diskId}.tuesday` }));
      return driver.backup(instance, { disks, since: "monday", checkpoint: "tuesday" }, options).result;
    },
  },
  {
    name: "deleteCheckpoint",
    failure: "forward",
    arrange: after(({ driver }) => driver.backup(instance, { directory: EXPORTS, checkpoint: "monday" }).result),
    act: ({ driver }, options) => driver.deleteCheckpoint(instance, "monday", options),
  },
  {
    name: "dumpMemory",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.dumpMemory(instance, `${EXPORTS}/dump`, options).result,
  },
  {
    name: "setConsolePassword",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.setConsolePassword(instance, "vnc", "open", options),
  },
  {
    name: "saveTemplate",
    failure: "undone",
    arrange: async ({ driver }) => {
      await driver.spawn(sourceSpec());
    },
    act: ({ driver }, options) => driver.saveTemplate(instance, TEMPLATE, options).result,
  },
  {
    name: "spawnFromTemplate",
    failure: "undone",
    arrange: templateSaved,
    act: ({ driver }, options) => driver.spawnFromTemplate(sourceSpec(), TEMPLATE, options),
  },
  {
    name: "destroy of a guest from a template",
    failure: "forward",
    arrange: async (stage) => {
      await templateSaved(stage);
      await stage.driver.spawnFromTemplate(sourceSpec(), TEMPLATE);
    },
    act: ({ driver }, options) => driver.destroy(instance, options),
  },
];

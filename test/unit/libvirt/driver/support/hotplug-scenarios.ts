// What a LibvirtDriver does to the devices of an instance, each from the state that it starts from.
import type { InstanceSpec } from "../../../../../src/driver/index.js";
import { blockDevice, smallSpec, vif } from "../../../driver/support/specs.js";
import { instance } from "./libvirt-stage.js";
import type { LibvirtStage } from "./libvirt-stage.js";
import type { RpcScenario } from "./rpc-scenarios.js";

const hardware = {
  cpu: { maxVcpus: 2 },
  memory: { maxMiB: 1024 },
  devices: [{ type: "usbInput", id: "tablet", model: "tablet" }],
} satisfies InstanceSpec["hardware"];
const cdrom = { deviceType: "cdrom", bus: "sata", deviceName: "sda" } as const;
const mouse = { type: "usbInput", id: "mouse", model: "mouse" } as const;

async function running({ driver }: LibvirtStage): Promise<void> {
  await driver.spawn(smallSpec({ hardware, blockDevices: [blockDevice("vol-1"), { ...cdrom }] }));
}
async function stopped({ driver }: LibvirtStage): Promise<void> {
  await driver.spawn(smallSpec({ hardware, blockDevices: [blockDevice("vol-1"), { ...cdrom }] }), { powerOn: false });
}

interface Act {
  readonly name: string;
  readonly failure: RpcScenario["failure"];
  readonly act: RpcScenario["act"];
}

const ACTS: readonly Act[] = [
  {
    name: "attachVolume",
    failure: "undone",
    act: ({ driver }, options) =>
      driver.attachVolume(instance, blockDevice("vol-2").connection, { ...options, bus: "scsi" }),
  },
  {
    name: "detachVolume",
    failure: "settling",
    act: ({ driver }, options) => driver.detachVolume(instance, blockDevice("vol-1").connection, options),
  },
  {
    name: "detachInterface",
    failure: "settling",
    act: ({ driver }, options) => driver.detachInterface(instance, vif(1), options),
  },
  {
    name: "attachDevice",
    failure: "undone",
    act: ({ driver }, options) => driver.attachDevice(instance, mouse, options),
  },
  {
    name: "detachDevice",
    failure: "settling",
    act: ({ driver }, options) => driver.detachDevice(instance, "tablet", options),
  },
  { name: "setVcpus", failure: "settling", act: ({ driver }, options) => driver.setVcpus(instance, 2, options) },
  {
    name: "setMemory",
    failure: "undone",
    act: ({ driver }, options) => driver.setMemory(instance, 512 + 128, options),
  },
  {
    name: "changeMedium",
    failure: "undone",
    act: ({ driver }, options) => driver.changeMedium(instance, "drive-sda", blockDevice("vol-3").connection, options),
  },
  {
    name: "setDiskLimits",
    failure: "undone",
    act: ({ driver }, options) => driver.setDiskLimits(instance, "root", { totalBytesPerSecond: 1_048_576 }, options),
  },
];

export const HOTPLUG_SCENARIOS: readonly RpcScenario[] = [
  ...ACTS.map(({ name, failure, act }) => ({ name: `${name} of a running guest`, failure, act, arrange: running })),
  ...ACTS.map(({ name, failure, act }) => ({ name: `${name} of a stopped guest`, failure, act, arrange: stopped })),
];

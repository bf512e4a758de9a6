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
    act: ({ driver }) => driver.attachVolume(instance, blockDevice("vol-2").connection, { bus: "scsi" }),
  },
  {
    name: "detachVolume",
    failure: "undone",
    act: ({ driver }) => driver.detachVolume(instance, blockDevice("vol-1").connection),
  },
  { name: "detachInterface", failure: "undone", act: ({ driver }) => driver.detachInterface(instance, vif(1)) },
  { name: "attachDevice", failure: "undone", act: ({ driver }) => driver.attachDevice(instance, mouse) },
  { name: "detachDevice", failure: "undone", act: ({ driver }) => driver.detachDevice(instance, "tablet") },
  { name: "setVcpus", failure: "undone", act: ({ driver }) => driver.setVcpus(instance, 2) },
  { name: "setMemory", failure: "undone", act: ({ driver }) => driver.setMemory(instance, 512 + 128) },
  {
    name: "changeMedium",
    failure: "undone",
    act: ({ driver }) => driver.changeMedium(instance, "drive-sda", blockDevice("vol-3").connection),
  },
  {
    name: "setDiskLimits",
    failure: "undone",
    act: ({ driver }) => driver.setDiskLimits(instance, "root", { totalBytesPerSecond: 1_048_576 }),
  },
];

export const HOTPLUG_SCENARIOS: readonly RpcScenario[] = [
  ...ACTS.map(({ name, failure, act }) => ({ name: `${name} of a running guest`, failure, act, arrange: running })),
  ...ACTS.map(({ name, failure, act }) => ({ name: `${name} of a stopped guest`, failure, act, arrange: stopped })),
];

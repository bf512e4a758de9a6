import { describe, expect, it } from "vitest";
import { failureOf, instance, openStage, worldOf } from "./support/scenarios.js";
import type { Stage } from "./support/scenarios.js";
import { connection, smallSpec, vif } from "./support/specs.js";

type Call = (stage: Stage) => Promise<unknown>;

const running: Call = ({ driver }) => driver.spawn(smallSpec());
const after =
  (...calls: readonly Call[]): Call =>
  async (stage) => {
    for (const call of calls) await call(stage);
  };
const stopped = after(running, ({ driver }) => driver.powerOff(instance, { graceMs: 0 }));
const paused = after(running, ({ driver }) => driver.pause(instance));
const suspended = after(running, ({ driver }) => driver.suspend(instance));
const crashed = after(running, async ({ world }) => world.crashGuest(instance.uuid));
const nothing: Call = async () => undefined;

const calls = {
  destroy: ({ driver }) => driver.destroy(instance),
  cleanup: ({ driver }) => driver.cleanup(instance),
  powerOn: ({ driver }) => driver.powerOn(instance),
  powerOff: ({ driver }) => driver.powerOff(instance),
  reboot: ({ driver }) => driver.reboot(instance, "hard"),
  softReboot: ({ driver }) => driver.reboot(instance, "soft"),
  pause: ({ driver }) => driver.pause(instance),
  unpause: ({ driver }) => driver.unpause(instance),
  resumeStateOnHostBoot: ({ driver }) => driver.resumeStateOnHostBoot(instance),
  spawn: ({ driver }) => driver.spawn(smallSpec()),
  attachVolume: ({ driver }) => driver.attachVolume(instance, connection("vol-1")),
  detachVolume: ({ driver }) => driver.detachVolume(instance, connection("vol-1")),
  attachInterface: ({ driver }) => driver.attachInterface(instance, vif(1)),
  detachInterface: ({ driver }) => driver.detachInterface(instance, vif(1)),
  plugVifs: ({ driver }) => driver.plugVifs(instance),
  unplugVifs: ({ driver }) => driver.unplugVifs(instance),
  deleteInstanceFiles: ({ driver }) => driver.deleteInstanceFiles(instance),
  getInfo: ({ driver }) => driver.getInfo(instance),
  getSpec: ({ driver }) => driver.getSpec(instance),
  getInstanceDiskInfo: ({ driver }) => driver.getInstanceDiskInfo(instance),
  listTaggedDevices: ({ driver }) => driver.listTaggedDevices(instance),
  listDisks: ({ driver }) => driver.listDisks(instance),
  listInterfaces: ({ driver }) => driver.listInterfaces(instance),
  setVcpus: ({ driver }) => driver.setVcpus(instance, 1),
  setMemory: ({ driver }) => driver.setMemory(instance, 512),
  setBalloon: ({ driver }) => driver.setBalloon(instance, 256),
  attachDevice: ({ driver }) => driver.attachDevice(instance, { type: "usbInput", id: "tablet", model: "tablet" }),
  detachDevice: ({ driver }) => driver.detachDevice(instance, "tablet"),
  listDevices: ({ driver }) => driver.listDevices(instance),
  changeMedium: ({ driver }) => driver.changeMedium(instance, "drive-sda", undefined),
  setDiskLimits: ({ driver }) => driver.setDiskLimits(instance, "root", {}),
  backup: ({ driver }) => driver.backup(instance, { directory: "/fake/backups" }).result,
  listCheckpoints: ({ driver }) => driver.listCheckpoints(instance),
  deleteCheckpoint: ({ driver }) => driver.deleteCheckpoint(instance, "monday"),
  dumpMemory: ({ driver }) => driver.dumpMemory(instance, "/fake/dump").result,
  setConsolePassword: ({ driver }) => driver.setConsolePassword(instance, "vnc", "password"),
  saveTemplate: ({ driver }) => driver.saveTemplate(instance, "/fake/template").result,
} satisfies Record<string, Call>;
type CallName = keyof typeof calls;

/** What the idempotency page promises: the call, the state it finds, and the error that it answers with, or none. */
const TABLE: readonly (readonly [call: CallName, state: string, arrange: Call, code?: string])[] = [
  ["destroy", "absent", nothing],
  ["cleanup", "absent", nothing],
  ["detachVolume", "absent", nothing],
  ["detachInterface", "absent", nothing],
  ["unplugVifs", "absent", nothing],
  ["deleteInstanceFiles", "absent", nothing],
  ["powerOn", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["powerOff", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["reboot", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["pause", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["unpause", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["resumeStateOnHostBoot", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["attachVolume", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["attachInterface", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["plugVifs", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["getInfo", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["getSpec", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["getInstanceDiskInfo", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["listTaggedDevices", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["listDisks", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["listInterfaces", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["setVcpus", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["setMemory", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["setBalloon", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["attachDevice", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["detachDevice", "absent", nothing],
  ["listDevices", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["changeMedium", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["setDiskLimits", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["backup", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["listCheckpoints", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["deleteCheckpoint", "absent", nothing],
  ["dumpMemory", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["setConsolePassword", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["saveTemplate", "absent", nothing, "INSTANCE_NOT_FOUND"],
  ["setVcpus", "running", running],
  ["setMemory", "running", running],
  ["setVcpus", "suspended", suspended],
  ["setBalloon", "stopped", stopped, "INVALID_STATE"],
  ["attachDevice", "suspended", suspended, "INVALID_STATE"],
  ["detachDevice", "running", running],
  ["setDiskLimits", "running", running],
  ["backup", "stopped", stopped, "INVALID_STATE"],
  ["deleteCheckpoint", "running", running],
  ["dumpMemory", "stopped", stopped, "INVALID_STATE"],
  ["setConsolePassword", "stopped", stopped, "INVALID_STATE"],
  ["saveTemplate", "stopped", stopped, "INVALID_STATE"],
  ["saveTemplate", "suspended", suspended, "INVALID_STATE"],
  ["spawn", "running", running, "INSTANCE_EXISTS"],
  ["spawn", "stopped", stopped, "INSTANCE_EXISTS"],
  ["cleanup", "running", running, "INVALID_STATE"],
  ["cleanup", "paused", paused, "INVALID_STATE"],
  ["deleteInstanceFiles", "running", running, "INVALID_STATE"],
  ["deleteInstanceFiles", "stopped", stopped, "INVALID_STATE"],
  ["unplugVifs", "running", running, "INVALID_STATE"],
  ["pause", "stopped", stopped, "INVALID_STATE"],
  ["pause", "suspended", suspended, "INVALID_STATE"],
  ["unpause", "stopped", stopped, "INVALID_STATE"],
  ["unpause", "suspended", suspended, "INVALID_STATE"],
  ["attachVolume", "running", running],
  ["attachInterface", "running", running],
  ["detachVolume", "suspended", suspended, "INVALID_STATE"],
  ["detachInterface", "suspended", suspended, "INVALID_STATE"],
];

describe("the idempotency table", () => {
  for (const [name, state, arrange, code] of TABLE) {
    it(`${name}, ${state}`, async () => {
      const stage = await openStage();
      await arrange(stage);
      const before = worldOf(stage);
      const error = await failureOf(calls[name](stage));
      expect(error?.code).toBe(code);
      expect(worldOf(stage)).toEqual(before);
      if (code !== undefined) expect(error?.instance?.uuid).toBe(instance.uuid);
    });
  }

  /** Calls whose target state is reached, from where they start. */
  type Target = readonly [call: CallName, state: string, arrange: Call, target: string | undefined];
  const anywhere = Object.entries({ running, paused, stopped, suspended, crashed }).flatMap(
    ([state, arrange]): Target[] => [
      ["powerOn", state, arrange, "running"],
      ["reboot", state, arrange, "running"],
      ["softReboot", state, arrange, "running"],
      ["destroy", state, arrange, undefined],
    ],
  );
  const TARGETS: readonly Target[] = [
    ...anywhere,
    ["powerOff", "running", running, "shutdown"],
    ["powerOff", "paused", paused, "shutdown"],
    ["powerOff", "stopped", stopped, "shutdown"],
    ["powerOff", "suspended", suspended, "suspended"],
    ["pause", "running", running, "paused"],
    ["pause", "paused", paused, "paused"],
    ["unpause", "paused", paused, "running"],
    ["unpause", "running", running, "running"],
    ["resumeStateOnHostBoot", "running", running, "running"],
    ["resumeStateOnHostBoot", "paused", paused, "paused"],
    ["resumeStateOnHostBoot", "suspended", suspended, "suspended"],
    ["resumeStateOnHostBoot", "crashed", crashed, "running"],
    ["cleanup", "stopped", stopped, undefined],
    ["cleanup", "crashed", crashed, undefined],
    ["detachVolume", "running", running, "running"],
    ["detachVolume", "stopped", stopped, "shutdown"],
    ["detachInterface", "running", running, "running"],
    ["detachInterface", "stopped", stopped, "shutdown"],
    ["plugVifs", "stopped", stopped, "shutdown"],
    ["unplugVifs", "stopped", stopped, "shutdown"],
  ];

  it.each(TARGETS)("%s of a guest that is %s, once and twice", async (name, _state, arrange, target) => {
    const stage = await openStage();
    await arrange(stage);
    for (const round of [1, 2]) {
      expect(await failureOf(calls[name](stage)), `call ${round}`).toBeUndefined();
      const exists = await stage.driver.instanceExists(instance);
      expect(exists ? (await stage.driver.getInfo(instance)).state : undefined, `call ${round}`).toBe(target);
    }
  });

  it("an error names the state that stands against it, and those that don't", async () => {
    const stage = await openStage();
    await stopped(stage);
    expect(await failureOf(stage.driver.pause(instance))).toMatchObject({
      code: "INVALID_STATE",
      operation: "pause",
      state: "shutdown",
      expected: ["running", "paused"],
      instance,
    });
  });
});

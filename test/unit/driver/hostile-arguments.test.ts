import { describe, expect, it } from "vitest";
import { InvalidArgumentError } from "../../../src/core/index.js";
import { FACET_METHODS, FACET_NAMES, HANDLE_METHODS } from "../../../src/driver/index.js";
import type { OperationHandle } from "../../../src/core/index.js";
import { failureOf, instance, openStage, worldOf } from "./support/scenarios.js";
import { connection, smallSpec, vif } from "./support/specs.js";

type Method = (...args: unknown[]) => unknown;

/** Methods whose first argument is an instance by uuid and name. */
const BY_REF = [
  ...[
    "destroy",
    "cleanup",
    "powerOn",
    "powerOff",
    "reboot",
    "resumeStateOnHostBoot",
    "deleteInstanceFiles",
    "pause",
    "unpause",
  ],
  ...[
    "attachVolume",
    "detachVolume",
    "attachInterface",
    "detachInterface",
    "plugVifs",
    "unplugVifs",
    "getVolumeConnector",
  ],
  ...["setVcpus", "setMemory", "setBalloon", "attachDevice", "detachDevice", "changeMedium", "setDiskLimits"],
  ...["backup", "deleteCheckpoint", "dumpMemory", "setConsolePassword", "saveTemplate"],
];
/** By uuid alone. */
const BY_UUID = [
  "getInfo",
  "getSpec",
  "instanceExists",
  "getInstanceDiskInfo",
  "instanceOnDisk",
  "listTaggedDevices",
  "listDisks",
  "listInterfaces",
  "listDevices",
  "listCheckpoints",
];

/** What makes the rest of a call right, so that only the instance is wrong. */
const REST: Readonly<Record<string, readonly unknown[]>> = {
  reboot: ["hard"],
  attachVolume: [connection("vol-3")],
  detachVolume: [connection("vol-3")],
  attachInterface: [vif(3)],
  detachInterface: [vif(3)],
  setVcpus: [2],
  setMemory: [1024],
  setBalloon: [256],
  attachDevice: [{ type: "usbInput", id: "tablet", model: "tablet" }],
  detachDevice: ["tablet"],
  changeMedium: ["drive-sda"],
  setDiskLimits: ["root", {}],
  backup: [{ directory: "/backups" }],
  deleteCheckpoint: ["monday"],
  dumpMemory: ["/dump"],
  setConsolePassword: ["vnc", "password"],
  saveTemplate: ["/template"],
};

const BAD_REFS: readonly (readonly [field: string, value: unknown])[] = [
  ["instance", undefined],
  ["instance", null],
  ["instance", "web-1"],
  ["instance.uuid", {}],
  ["instance.uuid", { ...instance, uuid: "../../etc/passwd" }],
  ["instance.uuid", { ...instance, uuid: 7 }],
  ["instance.uuid", { ...instance, uuid: `${instance.uuid}\n` }],
];
const BAD_NAMES = ["../x", "a,b=c", "a\nb", "x".repeat(300), "naïve", "", "-rf", ".x", undefined, 7, {}, ["a"]];

async function call(driver: object, method: string, ...args: readonly unknown[]): Promise<unknown> {
  const result = ((driver as Record<string, unknown>)[method] as Method).call(driver, ...args);
  return HANDLE_METHODS.has(method) ? (result as OperationHandle<unknown>).result : result;
}

describe("an instance that no instance can be", () => {
  it.each([...BY_REF, ...BY_UUID])("is refused by %s", async (method) => {
    const stage = await openStage();
    const trace = stage.driver.faults.startTrace();
    for (const [field, value] of BAD_REFS) {
      expect(await failureOf(call(stage.driver, method, value, ...(REST[method] ?? [])))).toMatchObject({
        code: "INVALID_ARGUMENT",
        field,
      });
    }
    for (const name of BY_REF.includes(method) ? BAD_NAMES : []) {
      const error = await failureOf(call(stage.driver, method, { ...instance, name }, ...(REST[method] ?? [])));
      expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field: "instance.name" });
    }
    expect(trace.passed.filter(({ point }) => !point.startsWith("driver."))).toEqual([]);
  });

  it("is refused by every method of every facet, whatever else it is given", async () => {
    const { driver } = await openStage();
    const free = [
      "manageImageCache",
      "filterDeferApplyOn",
      "filterDeferApplyOff",
      "getHostCpuStats",
      "refreshProviderFirewallRules",
    ];
    free.push("getAllDiagnostics", "getAllBandwidthCounters", "getAllVolumeUsage");
    for (const method of FACET_NAMES.flatMap((facet) => FACET_METHODS[facet] as readonly string[])) {
      if (free.includes(method)) continue;
      const error = await failureOf(call(driver, method, Object.create(null), {}, {}, {}));
      expect(error, method).toBeInstanceOf(InvalidArgumentError);
    }
  });

  it("may be in capitals, and is the same one", async () => {
    const { driver } = await openStage();
    await driver.spawn(smallSpec({ uuid: instance.uuid.toUpperCase() }));
    await driver.pause({ ...instance, uuid: instance.uuid.toUpperCase() });
    expect(await driver.getInfo({ uuid: instance.uuid.toUpperCase() })).toMatchObject({ instance, state: "paused" });
    await driver.unpause({ ...instance, uuid: instance.uuid.toUpperCase() });
    await driver.detachVolume({ ...instance, uuid: instance.uuid.toUpperCase() }, connection("vol-1"));
    await driver.destroy({ ...instance, uuid: instance.uuid.toUpperCase() });
    expect(await driver.listInstances()).toEqual([]);
  });
});

describe("options that can't be", () => {
  const BAD: readonly (readonly [method: string, field: string, args: readonly unknown[]])[] = [
    ...["spawn", "destroy", "powerOn", "powerOff", "pause", "getInfo"].flatMap((method) => {
      const first = method === "spawn" ? smallSpec() : instance;
      return [
        [method, "options", [first, null]],
        [method, "options", [first, "fast"]],
        [method, "options.deadline", [first, { deadline: -1 }]],
        [method, "options.deadline", [first, { deadline: Number.NaN }]],
        [method, "options.deadline", [first, { deadline: "1s" }]],
        [method, "options.signal", [first, { signal: {} }]],
      ] as const;
    }),
    ["powerOn", "options.onProgress", [instance, { onProgress: "log" }]],
    ["destroy", "options.graceMs", [instance, { graceMs: -1 }]],
    ["destroy", "options.graceMs", [instance, { graceMs: 0.5 }]],
    ["destroy", "options.destroyDisks", [instance, { destroyDisks: "no" }]],
    ["cleanup", "options.destroyDisks", [instance, { destroyDisks: 0 }]],
    ["powerOff", "options.graceMs", [instance, { graceMs: Infinity }]],
    ["powerOff", "options.resendMs", [instance, { resendMs: 0 }]],
    ["powerOff", "options.onTimeout", [instance, { onTimeout: "wait" }]],
    ["reboot", "type", [instance, "cold"]],
    ["reboot", "type", [instance, undefined]],
    ["reboot", "options.graceMs", [instance, "soft", { graceMs: "1" }]],
    ["attachVolume", "connection.volumeId", [instance, connection("../x")]],
    ["attachVolume", "connection", [instance, undefined]],
    ["attachVolume", "connection.extra", [instance, { ...connection("vol-3"), extra: 1 }]],
    ["attachVolume", "options.deviceName", [instance, connection("vol-3"), { deviceName: "sda" }]],
    ["attachVolume", "options.deviceName", [instance, connection("vol-3"), { deviceName: "a,b" }]],
    ["attachVolume", "options.bus", [instance, connection("vol-3"), { bus: "isa" }]],
    ["attachVolume", "options.deviceType", [instance, connection("vol-3"), { deviceType: "tape" }]],
    ["attachVolume", "options.tag", [instance, connection("vol-3"), { tag: "a/b" }]],
    ["detachVolume", "connection.type", [instance, { ...connection("vol-3"), type: "" }]],
    ["attachInterface", "vif.macAddress", [instance, vif(3, { macAddress: "x" })]],
    ["attachInterface", "vif.bridge", [instance, vif(3, { bridge: "$(reboot)" })]],
    ["attachInterface", "vif.type", [instance, { id: vif(3).id }]],
    ["detachInterface", "vif.id", [instance, { id: "../x" }]],
    ["detachInterface", "vif", [instance, undefined]],
    ["detachInterface", "vif.bridge", [instance, vif(3, { bridge: "a b" })]],
    ["estimateInstanceOverhead", "flavor.vcpus", [{ vcpus: 0, memoryMiB: 1, rootGiB: 1 }]],
  ];

  it.each(BAD)("%s names %s", async (method, field, args) => {
    const stage = await openStage();
    if (method !== "spawn") await stage.driver.spawn(smallSpec());
    const before = worldOf(stage);
    expect(await failureOf(call(stage.driver, method, ...args))).toMatchObject({ code: "INVALID_ARGUMENT", field });
    expect(worldOf(stage)).toEqual(before);
  });

  it("events names its own", async () => {
    const { driver } = await openStage();
    for (const [field, options] of [
      ["options.capacity", { capacity: 0 }],
      ["options.capacity", { capacity: 2 ** 21 }],
      ["options.signal", { signal: "stop" }],
      ["instance.uuid", { instance: { uuid: "x" } }],
    ] as const) {
      expect(() => driver.events(options as never)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", field }) as Error,
      );
    }
  });

  it("a callback that throws does not disturb the operation", async () => {
    const { driver } = await openStage();
    const onProgress = (): void => {
      throw new Error("broken callback");
    };
    await driver.spawn(smallSpec(), { onProgress });
    expect(await driver.getInfo(instance)).toMatchObject({ state: "running" });
  });
});

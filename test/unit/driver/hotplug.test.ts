import { describe, expect, it } from "vitest";
import { disagreements, failureOf, instance, openStage, worldOf } from "./support/scenarios.js";
import type { Stage } from "./support/scenarios.js";
import { roomySpec } from "./support/hardware-scenarios.js";
import { OTHER_UUID, vif } from "./support/specs.js";
import { NotSupportedError } from "../../../src/core/index.js";
import type { InstanceSpec } from "../../../src/driver/index.js";

async function running(changes: Partial<InstanceSpec> = {}): Promise<Stage> {
  const stage = await openStage();
  await stage.driver.spawn(roomySpec(changes));
  return stage;
}

async function sizes({ driver }: Stage): Promise<unknown> {
  const { flavor } = await driver.getSpec(instance);
  const { vcpus, memoryMiB } = await driver.getInfo(instance);
  expect([vcpus, memoryMiB]).toEqual([flavor.vcpus, flavor.memoryMiB]);
  return { vcpus, memoryMiB };
}

describe("setVcpus and setMemory", () => {
  it.each(["running", "paused", "shutdown"])("change a guest that is %s, durably", async (state) => {
    const stage = await running();
    const { driver } = stage;
    if (state === "paused") await driver.pause(instance);
    if (state === "shutdown") await driver.powerOff(instance, { graceMs: 0 });
    await driver.setVcpus(instance, 4);
    await driver.setMemory(instance, 1024);
    expect(await sizes(stage)).toEqual({ vcpus: 4, memoryMiB: 1024 });
    expect((await driver.getInfo(instance)).state).toBe(state);
    await driver.reboot(instance, "hard");
    expect(await sizes(stage)).toEqual({ vcpus: 4, memoryMiB: 1024 });
    stage.world.assertSound();
  });

  it("do nothing when the guest has it", async () => {
    const { driver } = await running();
    const trace = driver.faults.startTrace();
    await driver.setVcpus(instance, 2);
    await driver.setMemory(instance, 512);
    expect(trace.passed.filter(({ point }) => point.startsWith("guest.") || point.startsWith("state."))).toEqual([]);
  });

  it("keep within what the spec allows, and name what does not", async () => {
    const stage = await running();
    const { driver } = stage;
    const before = worldOf(stage);
    for (const [field, call] of [
      ["vcpus", () => driver.setVcpus(instance, 9)],
      ["vcpus", () => driver.setVcpus(instance, 0)],
      ["vcpus", () => driver.setVcpus(instance, 1.5)],
      ["memoryMiB", () => driver.setMemory(instance, 4097)],
      ["memoryMiB", () => driver.setMemory(instance, 511)],
      ["memoryMiB", () => driver.setMemory(instance, -1)],
    ] as const) {
      expect(await failureOf(call())).toMatchObject({ code: "INVALID_ARGUMENT", field });
    }
    expect(worldOf(stage)).toEqual(before);
  });

  it("give a guest without room no more than it was started with while it runs, and any number when it does not", async () => {
    const { hardware: _hardware, ...spec } = roomySpec();
    const stage = await openStage();
    const { driver } = stage;
    await driver.spawn(spec);
    await driver.setVcpus(instance, 1);
    await driver.setVcpus(instance, 2);
    expect(await failureOf(driver.setVcpus(instance, 3))).toMatchObject({ code: "INVALID_ARGUMENT" });
    await driver.powerOff(instance, { graceMs: 0 });
    await driver.setVcpus(instance, 3);
    await driver.powerOn(instance);
    expect(await sizes(stage)).toEqual({ vcpus: 3, memoryMiB: 512 });
  });

  it("give a topology whole sockets", async () => {
    const cpuTopology = { sockets: 1, cores: 2, threads: 1 };
    const { driver } = await running({ flavor: { vcpus: 2, memoryMiB: 512, rootGiB: 1, cpuTopology } });
    expect(await failureOf(driver.setVcpus(instance, 3))).toMatchObject({ code: "INVALID_ARGUMENT", field: "vcpus" });
    await driver.setVcpus(instance, 4);
    expect((await driver.getSpec(instance)).flavor.cpuTopology).toEqual({ ...cpuTopology, sockets: 2 });
  });

  it("refuse a change that the rest of the spec contradicts", async () => {
    const numaCells = [{ vcpus: [0, 1], memoryMiB: 512 }];
    const { driver } = await running({ hardware: { cpu: { numaCells }, memory: { maxMiB: 1024 } } });
    expect(await failureOf(driver.setMemory(instance, 1024))).toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it.each(["refuse", "ignore"] as const)("leave a guest that will %s to let go as it was", async (detach) => {
    const stage = await running();
    const { driver, world } = stage;
    await driver.setVcpus(instance, 4);
    world.setBehaviour(instance.uuid, { detach });
    const before = worldOf(stage);
    expect(await failureOf(driver.setVcpus(instance, 1))).toMatchObject({
      code: "DEVICE_DETACH_FAILED",
      retryable: true,
      undoErrors: [],
    });
    expect(worldOf(stage)).toEqual(before);
  });

  it.each(["refuses", "can't be asked"])("say in the spec what a guest has that %s to give back", async (why) => {
    const stage = await running();
    const { driver, world } = stage;
    if (why === "refuses") world.setBehaviour(instance.uuid, { detach: "refuse" });
    else driver.faults.failOn("guest.setVcpus", { nth: 2, error: new NotSupportedError({ capability: "unplug" }) });
    driver.faults.failOn("guest.setVcpus", { nth: 1, at: "after" });
    expect(await failureOf(driver.setVcpus(instance, 6))).toMatchObject({ code: "FAKE_FAULT", undoErrors: [] });
    driver.faults.clear();
    expect(await sizes(stage)).toEqual({ vcpus: 6, memoryMiB: 512 });
    expect(disagreements(stage)).toEqual([]);
    await driver.setMemory(instance, 600);
  });

  it("follow the hypervisor when the process dies after the guest was changed", async () => {
    const stage = await running();
    stage.world.setBehaviour(instance.uuid, { detach: "refuse" });
    stage.driver.faults.crash("guest.setMemory", { at: "after" });
    await failureOf(stage.driver.setMemory(instance, 1024));
    stage.driver.faults.clear();
    const driver = stage.driver.restart();
    await driver.initHost();
    expect(await sizes({ ...stage, driver })).toEqual({ vcpus: 2, memoryMiB: 1024 });
  });

  it("need room on the host", async () => {
    const stage = await running();
    stage.world.hosts[0]!.claimed.memoryMiB = stage.world.hosts[0]!.guestMemoryMiB;
    expect(await failureOf(stage.driver.setMemory(instance, 2048))).toMatchObject({ code: "NO_CAPACITY" });
  });

  it.each(["suspended", "rescued", "resized"])("reject while the instance is %s", async (state) => {
    const stage = await running();
    const { driver } = stage;
    if (state === "suspended") await driver.suspend(instance);
    if (state === "rescued") await driver.rescue(instance);
    if (state === "resized") await driver.resize(instance, { vcpus: 4, memoryMiB: 1024, rootGiB: 2 }).result;
    const before = worldOf(stage);
    expect(await failureOf(driver.setVcpus(instance, 3))).toMatchObject({ code: "INVALID_STATE", state });
    expect(await failureOf(driver.setMemory(instance, 2048))).toMatchObject({ code: "INVALID_STATE", state });
    expect(worldOf(stage)).toEqual(before);
  });
});

describe("setBalloon", () => {
  it("leaves the flavor alone, and is forgotten when the guest starts anew", async () => {
    const { driver } = await running();
    await driver.setBalloon(instance, 256);
    expect((await driver.getDiagnostics(instance)).memory).toMatchObject({ maximumMiB: 512, currentMiB: 256 });
    expect((await driver.getSpec(instance)).flavor.memoryMiB).toBe(512);
    await driver.reboot(instance, "hard");
    expect((await driver.getDiagnostics(instance)).memory.currentMiB).toBe(512);
    expect(await failureOf(driver.setBalloon(instance, 513))).toMatchObject({ field: "memoryMiB" });
    await driver.powerOff(instance, { graceMs: 0 });
    expect(await failureOf(driver.setBalloon(instance, 256))).toMatchObject({ code: "INVALID_STATE" });
  });
});

describe("devices", () => {
  const gpu = { type: "pciHost", id: "gpu", address: "0000:3b:00.0" } as const;
  const tablet = { type: "usbInput", id: "tablet", model: "tablet" } as const;

  it("come and go, and the spec tells of them", async () => {
    const stage = await running();
    const { driver } = stage;
    const events = driver.events({ instance });
    await driver.attachDevice(instance, gpu);
    await driver.attachDevice(instance, gpu);
    expect(await driver.listDevices(instance)).toEqual([tablet, gpu]);
    await driver.detachDevice(instance, "tablet");
    await driver.detachDevice(instance, "tablet");
    expect((await driver.getSpec(instance)).hardware?.devices).toEqual([gpu]);
    await driver.powerOff(instance, { graceMs: 0 });
    await driver.detachDevice(instance, "gpu");
    expect((await driver.getSpec(instance)).hardware).toEqual({ cpu: { maxVcpus: 8 }, memory: { maxMiB: 4096 } });
    const seen: string[] = [];
    for await (const event of events) {
      if (event.type === "device") seen.push(`${event.change} ${event.device}`);
      if (seen.length === 3) break;
    }
    expect(seen).toEqual(["attached gpu", "detached tablet", "detached gpu"]);
  });

  it("of the host belong to one instance at a time", async () => {
    const { driver } = await running();
    await driver.attachDevice(instance, gpu);
    const { hardware: _hardware, blockDevices: _devices, ...rest } = roomySpec();
    const other = { ...rest, uuid: OTHER_UUID, name: "other", vifs: [vif(5)] };
    const taken = { devices: [{ ...gpu, id: "card" }] };
    expect(await failureOf(driver.spawn({ ...other, hardware: taken }))).toMatchObject({
      code: "CONFLICT",
      device: "card",
    });
    await driver.spawn(other);
    expect(await failureOf(driver.attachDevice(other, { ...gpu, id: "card" }))).toMatchObject({ code: "CONFLICT" });
    await driver.attachDevice(other, { type: "usbHost", id: "gpu", vendorId: 0x1d6b, productId: 2 });
    await driver.detachDevice(instance, "gpu");
    await driver.attachDevice(other, { ...gpu, id: "card" });
  });

  it("stay when the guest does not let go", async () => {
    const stage = await running();
    const { driver, world } = stage;
    world.setBehaviour(instance.uuid, { detach: "refuse" });
    const before = worldOf(stage);
    expect(await failureOf(driver.detachDevice(instance, "tablet"))).toMatchObject({
      code: "DEVICE_DETACH_FAILED",
      device: "tablet",
    });
    expect(worldOf(stage)).toEqual(before);
  });

  it.each([
    ["device.type", { id: "x", type: "laser" }],
    ["device.address", { ...gpu, address: "0000:3b:00.0,rombar=0" }],
    ["device.id", { ...gpu, id: "../gpu" }],
    ["device.extra", { ...gpu, extra: 1 }],
    ["device", undefined],
  ])("are refused at the door: %s", async (field, device) => {
    const { driver } = await running();
    expect(await failureOf(driver.attachDevice(instance, device as never))).toMatchObject({
      code: "INVALID_ARGUMENT",
      field,
    });
  });
});

import { describe, expect, it } from "vitest";
import { failureOf, instance, openStage, worldOf } from "./support/scenarios.js";
import type { Stage } from "./support/scenarios.js";
import type { GuestBehaviour } from "../../../src/fake/index.js";
import { connection, OTHER_UUID, smallSpec } from "./support/specs.js";

const other = { uuid: OTHER_UUID, name: "web-2" };

async function running(behaviour: Partial<GuestBehaviour> = {}): Promise<Stage> {
  const stage = await openStage();
  stage.world.setBehaviour(instance.uuid, behaviour);
  await stage.driver.spawn(smallSpec());
  return stage;
}

describe("attachVolume", () => {
  it("gives a disk to the guest, now and after the next start", async () => {
    const stage = await running();
    const disk = await stage.driver.attachVolume(instance, connection("vol-3"));
    expect(disk).toMatchObject({
      id: "volume-vol-3",
      deviceName: "vdc",
      bus: "virtio",
      volumeId: "vol-3",
      readOnly: false,
    });
    expect(await stage.driver.listDisks(instance)).toContainEqual(disk);
    expect(stage.world.guest(instance.uuid).definition.disks).toContainEqual(
      expect.objectContaining({ id: "volume-vol-3", serial: "vol-3" }),
    );
    expect((await stage.driver.getSpec(instance)).blockDevices).toContainEqual({
      connection: connection("vol-3"),
      deviceName: "vdc",
    });
    await stage.driver.reboot(instance, "hard");
    expect(await stage.driver.listDisks(instance)).toContainEqual(disk);
    stage.world.assertSound();
  });

  it("takes the place that it is told", async () => {
    const { driver } = await running();
    const options = { deviceName: "sdq", bus: "scsi", deviceType: "cdrom", tag: "install" } as const;
    expect(await driver.attachVolume(instance, connection("vol-3"), options)).toMatchObject({
      deviceName: "sdq",
      bus: "scsi",
      readOnly: true,
    });
  });

  it("of what is attached answers the same, and elsewhere is a conflict", async () => {
    const stage = await running();
    const first = await stage.driver.attachVolume(instance, connection("vol-3"), { deviceName: "vdq" });
    const before = worldOf(stage);
    expect(await stage.driver.attachVolume(instance, connection("vol-3"))).toEqual(first);
    expect(await stage.driver.attachVolume(instance, connection("vol-3"), { deviceName: "vdq" })).toEqual(first);
    for (const [volumeId, deviceName] of [
      ["vol-3", "vdr"],
      ["vol-2", "vdq"],
      ["vol-2", "vda"],
    ] as const) {
      const error = await failureOf(stage.driver.attachVolume(instance, connection(volumeId), { deviceName }));
      expect(error).toMatchObject({ code: "CONFLICT", device: volumeId, instance });
    }
    expect(worldOf(stage)).toEqual(before);
  });

  it("shares a volume only between instances that all ask for it", async () => {
    const stage = await running();
    await stage.driver.spawn(smallSpec({ ...other, blockDevices: [], vifs: [] }));
    const shared = connection("vol-3", { multiattach: true });
    expect((await failureOf(stage.driver.attachVolume(other, connection("vol-1", { multiattach: true }))))?.code).toBe(
      "CONFLICT",
    );
    await stage.driver.attachVolume(instance, shared);
    expect((await failureOf(stage.driver.attachVolume(other, connection("vol-3"))))?.code).toBe("CONFLICT");
    await stage.driver.attachVolume(other, shared);
    stage.world.assertSound();
    await stage.driver.detachVolume(instance, shared);
    stage.world.assertSound();
    await stage.driver.detachVolume(other, shared);
    expect(stage.world.ledger().filter(({ id }) => id === "vol-3")).toEqual([]);
  });

  it("has one call of its connector at a time for a volume, and many for many", async () => {
    const stage = await running();
    const spec = smallSpec({ ...other, blockDevices: [], vifs: [] });
    await stage.driver.spawn(spec);
    const shared = connection("vol-3", { multiattach: true });
    const first = stage.driver.faults.hang("volumes.connect", { nth: 1 });
    const trace = stage.driver.faults.startTrace();
    const attaching = stage.driver.attachVolume(instance, shared);
    await first.reached;
    const waiting = stage.driver.attachVolume(other, shared);
    await stage.driver.spawn({
      ...spec,
      uuid: spec.uuid.replace("9", "7"),
      name: "web-3",
      blockDevices: [{ connection: connection("vol-2") }],
    });
    const connects = (): readonly (string | undefined)[] =>
      trace.passed.filter(({ point }) => point === "volumes.connect").map(({ subject }) => subject);
    expect(connects()).toEqual(["vol-3", "vol-2"]);
    first.remove();
    await Promise.all([attaching, waiting]);
    expect(connects()).toEqual(["vol-3", "vol-2", "vol-3"]);
    stage.world.assertSound();
  });

  it("is refused while something else is going on with the instance", async () => {
    const stage = await running();
    await stage.driver.rescue(instance, { imageId: "rescue" });
    expect(await failureOf(stage.driver.attachVolume(instance, connection("vol-3")))).toMatchObject({
      code: "INVALID_STATE",
      state: "rescued",
    });
    await stage.driver.unrescue(instance);
    await stage.driver.suspend(instance);
    expect(await failureOf(stage.driver.attachVolume(instance, connection("vol-3")))).toMatchObject({
      code: "INVALID_STATE",
      state: "suspended",
    });
  });
});

describe("detachVolume", () => {
  it.each([
    ["refuse", "DEVICE_DETACH_FAILED"],
    ["ignore", "DEVICE_DETACH_FAILED"],
  ] as const)("from a guest that does not let go (%s) leaves it attached", async (detach, code) => {
    const stage = await running({ detach });
    const before = worldOf(stage);
    const error = await failureOf(stage.driver.detachVolume(instance, connection("vol-1")));
    expect(error).toMatchObject({ code, retryable: true, device: "volume-vol-1", instance, undoErrors: [] });
    expect(worldOf(stage)).toEqual(before);
    stage.world.guest(instance.uuid).behave({ detach: "release" });
    await stage.driver.detachVolume(instance, connection("vol-1"));
    expect(stage.world.ledger().filter(({ id }) => id === "vol-1")).toEqual([]);
    stage.world.assertSound();
  });

  it("waits for a guest that takes its time", async () => {
    const stage = await running({ detachMs: 20_000 });
    await stage.driver.detachVolume(instance, connection("vol-1"));
    stage.world.assertSound();
  });

  it("that the guest answers too late is finished by the next call", async () => {
    const stage = await running({ detachMs: 100_000 });
    expect((await failureOf(stage.driver.detachVolume(instance, connection("vol-1"))))?.code).toBe(
      "DEVICE_DETACH_FAILED",
    );
    await stage.driver.detachVolume(instance, connection("vol-1"));
    expect(stage.world.ledger().filter(({ id }) => id === "vol-1")).toEqual([]);
    stage.world.assertSound();
  });

  it("of what is not attached takes it off the host all the same", async () => {
    const stage = await running();
    const trace = stage.driver.faults.startTrace();
    await stage.driver.detachVolume(instance, connection("vol-2"));
    await stage.driver.detachVolume(other, connection("vol-2"));
    expect(trace.passed.filter(({ point }) => point === "volumes.disconnect")).toHaveLength(2);
  });

  it("takes off the host what a guest that is gone had", async () => {
    const stage = await running();
    stage.world.removeGuest(instance.uuid);
    await stage.driver.detachVolume(instance, connection("vol-1"));
    expect(stage.world.ledger().filter(({ id }) => id === "vol-1")).toEqual([]);
  });

  it("gives its name free", async () => {
    const { driver } = await running();
    await driver.detachVolume(instance, connection("vol-1"));
    expect(await driver.attachVolume(instance, connection("vol-3"))).toMatchObject({ deviceName: "vdb" });
    expect((await driver.getSpec(instance)).blockDevices).toEqual([
      { connection: connection("vol-3"), deviceName: "vdb" },
    ]);
  });

  it("that fails on the host is finished before anything else", async () => {
    const stage = await running();
    const fault = stage.driver.faults.failOn("volumes.disconnect");
    expect((await failureOf(stage.driver.detachVolume(instance, connection("vol-1"))))?.code).toBe("FAKE_FAULT");
    expect((await failureOf(stage.driver.pause(instance)))?.code).toBe("CLEANUP_INCOMPLETE");
    fault.remove();
    await stage.driver.pause(instance);
    expect(stage.world.ledger().filter(({ id }) => id === "vol-1")).toEqual([]);
    stage.world.assertSound();
  });
});

describe("getVolumeConnector", () => {
  it("says what a volume service must know of the host", async () => {
    const { driver } = await running();
    expect(await driver.getVolumeConnector(instance)).toMatchObject({ hostname: "host-1", multipath: false });
  });
});

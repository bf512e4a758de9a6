import { describe, expect, it } from "vitest";
import { disagreements, failureOf, instance, openStage, worldOf } from "./support/scenarios.js";
import type { Stage } from "./support/scenarios.js";
import { roomySpec } from "./support/hardware-scenarios.js";
import { connection, OTHER_UUID, vif } from "./support/specs.js";

async function running(): Promise<Stage> {
  const stage = await openStage();
  await stage.driver.spawn(roomySpec());
  return stage;
}

/** What is in each drive, as the guest, the caller and the spec see it: all the same. */
async function media({ driver, world }: Stage): Promise<Readonly<Record<string, string | undefined>>> {
  const disks = (await driver.listDisks(instance)).filter(({ bus }) => bus === "sata");
  const places = disks.map(({ deviceName, volumeId }) => [deviceName, volumeId] as const);
  const listed: Readonly<Record<string, string | undefined>> = Object.fromEntries(places);
  const { blockDevices = [] } = await driver.getSpec(instance);
  const drives = blockDevices.filter(({ deviceType }) => deviceType === "cdrom");
  expect(Object.fromEntries(drives.map((drive) => [drive.deviceName, drive.connection?.volumeId]))).toEqual(listed);
  const held = world.guest(instance.uuid).definition.disks.filter(({ bus }) => bus === "sata");
  expect(held.filter(({ source }) => source === undefined).length).toBe(
    disks.filter((disk) => disk.volumeId === undefined).length,
  );
  expect(disagreements({ world })).toEqual([]);
  return listed;
}

function connected({ world }: Stage): readonly string[] {
  return world.ledger().flatMap(({ kind, id }) => (kind === "volumeConnection" ? [id] : []));
}

describe("changeMedium", () => {
  it("connects the new volume and disconnects the old one", async () => {
    const stage = await running();
    const { driver } = stage;
    const disk = await driver.changeMedium(instance, "drive-sda", connection("vol-3"));
    expect(disk).toMatchObject({ id: "drive-sda", deviceName: "sda", volumeId: "vol-3", readOnly: true });
    expect(await media(stage)).toEqual({ sda: "vol-3", sdb: undefined });
    expect(connected(stage)).toEqual(["vol-1", "vol-3"]);
  });

  it("takes the drive by the id of the volume in it, empties it and fills it again", async () => {
    const stage = await running();
    const { driver } = stage;
    const empty = await driver.changeMedium(instance, "vol-2", undefined);
    expect(empty).toEqual({ id: "drive-sda", deviceName: "sda", bus: "sata", readOnly: true });
    expect(await media(stage)).toEqual({ sda: undefined, sdb: undefined });
    await driver.changeMedium(instance, "drive-sdb", connection("vol-2"));
    expect(await media(stage)).toEqual({ sda: undefined, sdb: "vol-2" });
    expect(connected(stage)).toEqual(["vol-1", "vol-2"]);
  });

  it("does nothing when it is so already", async () => {
    const stage = await running();
    const before = worldOf(stage);
    await stage.driver.changeMedium(instance, "drive-sda", connection("vol-2"));
    await stage.driver.changeMedium(instance, "drive-sdb", undefined);
    expect(worldOf(stage)).toEqual(before);
  });

  it("gives the ejected volume free for others, and for this guest as a disk", async () => {
    const stage = await running();
    const { driver } = stage;
    await driver.changeMedium(instance, "drive-sda", undefined);
    await driver.attachVolume(instance, connection("vol-2"));
    const ids = (await driver.listDisks(instance)).map(({ id }) => id);
    expect(ids.sort()).toEqual(["drive-sda", "drive-sdb", "root", "volume-vol-1", "volume-vol-2"]);
    await driver.detachVolume(instance, connection("vol-2"));
    const other = {
      ...roomySpec(),
      uuid: OTHER_UUID,
      name: "other",
      vifs: [vif(5)],
      blockDevices: [{ connection: connection("vol-2") }],
    };
    await driver.spawn(other);
    expect(await failureOf(driver.changeMedium(instance, "drive-sda", connection("vol-2")))).toMatchObject({
      code: "CONFLICT",
    });
    expect(await media(stage)).toEqual({ sda: undefined, sdb: undefined });
  });

  it("opens a tray that the guest has locked only by force", async () => {
    const stage = await running();
    const { driver, world } = stage;
    world.setBehaviour(instance.uuid, { tray: "locked" });
    const before = worldOf(stage);
    const change = { code: "DEVICE_DETACH_FAILED", device: "drive-sda", undoErrors: [] };
    expect(await failureOf(driver.changeMedium(instance, "drive-sda", connection("vol-3")))).toMatchObject(change);
    expect(worldOf(stage)).toEqual(before);
    await driver.changeMedium(instance, "drive-sda", connection("vol-3"), { force: true });
    expect(await media(stage)).toEqual({ sda: "vol-3", sdb: undefined });
  });

  it.each(["reboot", "rescue", "resize", "suspend"])("is kept over a %s", async (what) => {
    const stage = await running();
    const { driver } = stage;
    await driver.changeMedium(instance, "drive-sda", undefined);
    await driver.changeMedium(instance, "drive-sdb", connection("vol-3"));
    if (what === "reboot") await driver.reboot(instance, "hard");
    if (what === "rescue") {
      await driver.rescue(instance);
      await driver.unrescue(instance);
    }
    if (what === "resize") await driver.resize(instance, { vcpus: 4, memoryMiB: 1024, rootGiB: 2 }).result;
    if (what === "suspend") {
      await driver.suspend(instance);
      expect(await failureOf(driver.changeMedium(instance, "drive-sda", connection("vol-2")))).toMatchObject({
        code: "INVALID_STATE",
      });
      await driver.resume(instance);
    }
    expect(await media(stage)).toEqual({ sda: undefined, sdb: "vol-3" });
    await driver.destroy(instance);
    stage.world.assertSound();
  });

  it("says what is no drive, and what can't be put into one", async () => {
    const stage = await running();
    const { driver } = stage;
    const codes = [
      ["root", undefined, "INVALID_ARGUMENT"],
      ["volume-vol-1", undefined, "INVALID_ARGUMENT"],
      ["drive-sdz", undefined, "DISK_NOT_FOUND"],
      ["../x", undefined, "INVALID_ARGUMENT"],
      ["drive-sda", connection("vol-1"), "CONFLICT"],
      ["drive-sda", connection("nowhere"), "VOLUME_CONNECT_FAILED"],
      ["drive-sda", connection("vol-3", { type: "pigeon" }), "NOT_SUPPORTED"],
    ] as const;
    const before = worldOf(stage);
    for (const [drive, medium, code] of codes)
      expect(await failureOf(driver.changeMedium(instance, drive, medium)), drive).toMatchObject({ code });
    expect(worldOf(stage)).toEqual(before);
  });

  it("needs a drive in the spec: a disk is never empty", async () => {
    const { driver } = await openStage();
    const blockDevices = [{ deviceName: "vdb" }];
    expect(await failureOf(driver.spawn(roomySpec({ blockDevices })))).toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "spec.blockDevices[0].connection",
    });
    await driver.spawn(roomySpec({ blockDevices: [{ deviceType: "cdrom", bus: "scsi" }] }));
    expect((await driver.getSpec(instance)).blockDevices).toEqual([
      { deviceType: "cdrom", bus: "scsi", deviceName: "sda" },
    ]);
    expect(await driver.changeMedium(instance, "drive-sda", connection("vol-1"))).toMatchObject({ volumeId: "vol-1" });
  });
});

describe("setDiskLimits", () => {
  const limits = { totalBytesPerSecond: 1_000_000, burst: { totalBytesPerSecond: 2_000_000 }, burstSeconds: 5 };
  const limitsOf = ({ world }: Stage, id: string): unknown =>
    world.guest(instance.uuid).definition.disks.find((disk) => disk.id === id)?.tuning?.limits;

  it.each(["root", "volume-vol-1", "drive-sdb"])("limits %s, and keeps it over a restart of the guest", async (id) => {
    const stage = await running();
    await stage.driver.setDiskLimits(instance, id, limits);
    expect(limitsOf(stage, id)).toEqual(limits);
    expect(disagreements(stage)).toEqual([]);
    await stage.driver.reboot(instance, "hard");
    expect(limitsOf(stage, id)).toEqual(limits);
    await stage.driver.setDiskLimits(instance, id, {});
    expect(limitsOf(stage, id)).toBeUndefined();
    expect(disagreements(stage)).toEqual([]);
  });

  it("takes the place of what the spec says of all own disks", async () => {
    const stage = await openStage();
    await stage.driver.spawn(roomySpec({ diskTuning: { cache: "none", limits: { readOperationsPerSecond: 100 } } }));
    expect(limitsOf(stage, "root")).toEqual({ readOperationsPerSecond: 100 });
    await stage.driver.setDiskLimits(instance, "root", limits);
    expect(stage.world.guest(instance.uuid).definition.disks[0]?.tuning).toEqual({ cache: "none", limits });
    await stage.driver.setDiskLimits(instance, "root", {});
    expect(limitsOf(stage, "root")).toBeUndefined();
  });

  it.each([
    ["diskId", "root/../x", {}],
    ["limits.totalBytesPerSecond", "root", { totalBytesPerSecond: 5, writeBytesPerSecond: 1 }],
    ["limits.readBytesPerSecond", "root", { readBytesPerSecond: -1 }],
    ["limits.iops", "root", { iops: 1 }],
    ["limits", "root", undefined],
  ])("refuses %s at the door", async (field, id, given) => {
    const { driver } = await running();
    expect(await failureOf(driver.setDiskLimits(instance, id, given as never))).toMatchObject({
      code: "INVALID_ARGUMENT",
      field,
    });
  });
});

describe("setConsolePassword", () => {
  it("holds as long as it is said to, and no longer than the guest", async () => {
    const { driver, world } = await running();
    await driver.setConsolePassword(instance, "spice", "open sesame", { validMs: 1_000 });
    await driver.setConsolePassword(instance, "vnc", "sesame");
    const guest = world.guest(instance.uuid);
    expect(guest.checkConsolePassword("spice", "open sesame")).toBe(true);
    expect(guest.checkConsolePassword("vnc", "open sesame")).toBe(false);
    await driver.clock.sleep(1_001);
    expect(guest.checkConsolePassword("spice", "open sesame")).toBe(false);
    expect(guest.checkConsolePassword("vnc", "sesame")).toBe(true);
    await driver.reboot(instance, "hard");
    expect(world.guest(instance.uuid).checkConsolePassword("vnc", "sesame")).toBe(false);
    expect(JSON.stringify([driver.calls, world.snapshot()])).not.toContain("sesame");
  });

  it.each([
    ["kind", ["telnet", "x"]],
    ["password", ["vnc", "123456789"]],
    ["password", ["vnc", "naïve"]],
    ["password", ["spice", ""]],
    ["password", ["spice", 7]],
    ["options.validMs", ["spice", "x", { validMs: 0 }]],
  ])("refuses %s at the door", async (field, args) => {
    const { driver } = await running();
    const call = driver.setConsolePassword as (...args: unknown[]) => Promise<void>;
    const error = await failureOf(call.call(driver, instance, ...args));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field });
    expect(JSON.stringify(error)).not.toContain("123456789");
  });
});

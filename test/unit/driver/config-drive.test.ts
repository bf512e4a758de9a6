import { describe, expect, it } from "vitest";
import { FakeDriver, FakeWorld } from "../../../src/fake/index.js";
import { liveMigrate } from "../../../src/driver/index.js";
import { planConfigDriveFor } from "./support/config-drive.js";
import type { ConfigDrive, InstanceSpec } from "../../../src/driver/index.js";
import { failureOf, instance, openStage } from "./support/scenarios.js";
import type { Stage } from "./support/scenarios.js";
import { blockDevice, smallSpec, vif } from "./support/specs.js";

const TWO_GIB = { vcpus: 1, memoryMiB: 512, rootGiB: 2 };

function spec(configDrive: ConfigDrive = {}, changes: Partial<InstanceSpec> = {}): InstanceSpec {
  return smallSpec({ flavor: TWO_GIB, configDrive, ...changes });
}

interface Drive {
  readonly label: string;
  text(path: string): string | undefined;
  json(path: string): Record<string, unknown>;
  readonly paths: readonly string[];
}

function driveOf({ world }: Pick<Stage, "world">): Drive | undefined {
  const drive = world.guest(instance.uuid).configDrive();
  if (drive === undefined) return undefined;
  const text = (path: string): string | undefined => {
    const bytes = drive.files[path];
    return bytes === undefined ? undefined : Buffer.from(bytes).toString();
  };
  return {
    label: drive.label,
    text,
    json: (path) => JSON.parse(text(path) ?? "null") as Record<string, unknown>,
    paths: Object.keys(drive.files),
  };
}

const META = "openstack/latest/meta_data.json";

describe("a config drive", () => {
  it("tells the guest what it is, what to run, and what it may let in", async () => {
    const stage = await openStage();
    const userData = "#!/bin/sh\necho hello\n";
    const configDrive = { userData, publicKeys: { ours: "ssh-ed25519 AAAA ours" }, metadata: { role: "db" } };
    const vifs = [vif(1, { tag: "lan" })];
    const blockDevices = [blockDevice("vol-1", { tag: "data" })];
    await stage.driver.spawn(
      spec(configDrive, {
        vifs,
        blockDevices,
        adminPassword: "hunter2",
        injectedFiles: [{ path: "/etc/motd", contents: Buffer.from("welcome") }],
      }),
    );
    const drive = driveOf(stage);
    expect(drive?.label).toBe("config-2");
    expect(drive?.json(META)).toMatchObject({
      uuid: instance.uuid,
      name: "web-1",
      hostname: "web-1",
      admin_pass: "hunter2",
      public_keys: { ours: "ssh-ed25519 AAAA ours" },
      meta: { role: "db" },
      files: [{ path: "/etc/motd", content_path: "/content/0000" }],
      devices: [
        { type: "nic", mac: "52:54:00:00:00:01", tags: ["lan"] },
        { type: "disk", bus: "virtio", path: "/dev/vdb", serial: "vol-1", tags: ["data"] },
      ],
    });
    expect(drive?.text("openstack/content/0000")).toBe("welcome");
    expect(drive?.text("openstack/latest/user_data")).toBe(userData);
    expect(drive?.json("openstack/latest/network_data.json")).toMatchObject({
      networks: [{ type: "ipv4", ip_address: "192.0.2.11", netmask: "255.255.255.0" }],
    });
  });

  it("is a read-only CD beside the guest's disks", async () => {
    const stage = await openStage();
    await stage.driver.spawn(spec());
    const disks = await stage.driver.listDisks(instance);
    expect(disks.find(({ id }) => id === "config")).toMatchObject({ bus: "sata", deviceName: "sda", readOnly: true });
    expect((await stage.driver.getInstanceDiskInfo(instance)).map(({ name }) => name)).toContain("config");
  });

  it.each([
    [{}, {}, "cdrom sata sda"],
    [{ machine: "pc" }, {}, "cdrom ide hda"],
    [{ machine: "virt" }, {}, "cdrom scsi sda"],
    [{ machine: "microvm" }, {}, "disk virtio vdc"],
    [{}, { format: "vfat" }, "disk virtio vdc"],
    [{}, { bus: "usb" }, "disk usb sda"],
    [{}, { bus: "scsi", deviceName: "sdz" }, "cdrom scsi sdz"],
  ] as const)("of an instance with %j and %j is %s", (changes, configDrive, expected) => {
    expect(planConfigDriveFor(spec(configDrive, changes))).toBe(expected);
  });

  it("can be a NoCloud seed", async () => {
    const stage = await openStage();
    await stage.driver.spawn(
      spec({ layout: "nocloud", userData: "#cloud-config\n{}\n" }, { adminPassword: "hunter2" }),
    );
    const drive = driveOf(stage);
    expect(drive?.label).toBe("cidata");
    expect(drive?.paths).toEqual(["meta-data", "user-data", "vendor-data", "network-config"]);
    expect(drive?.json("meta-data")).toEqual({ "instance-id": instance.uuid, "local-hostname": "web-1" });
    expect(drive?.text("vendor-data")).toContain("hunter2");
  });

  it("keeps the password and the files to itself", async () => {
    const stage = await openStage();
    await stage.driver.spawn(
      spec({}, { adminPassword: "hunter2", injectedFiles: [{ path: "/etc/key", contents: Buffer.from("s3cret") }] }),
    );
    const state = stage.world.hosts.flatMap((host) => [...host.state.values()]).join("\n");
    expect(state).not.toContain("hunter2");
    expect(state).not.toContain(Buffer.from("s3cret").toString("base64"));
    expect(JSON.stringify(stage.driver.calls)).not.toContain("hunter2");
    expect(stage.world.ledger().filter(({ kind }) => kind === "temporaryFile")).toEqual([]);
  });

  it("is there for a new driver process, at reboots, and gone with the instance", async () => {
    const stage = await openStage();
    const empty = stage.world.ledger();
    await stage.driver.spawn(spec({ userData: "once" }));
    const driver = stage.driver.restart();
    await driver.initHost();
    await driver.reboot(instance, "hard");
    await driver.reboot(instance, "soft");
    expect(driveOf(stage)?.text("openstack/latest/user_data")).toBe("once");
    await driver.destroy(instance);
    expect(stage.world.ledger()).toEqual(empty);
  });

  it("is made anew where an instance's disks were kept and it is spawned again", async () => {
    const stage = await openStage();
    await stage.driver.spawn(spec({ userData: "first" }));
    await stage.driver.destroy(instance, { destroyDisks: false });
    await stage.driver.spawn(spec({ userData: "second" }));
    expect(driveOf(stage)?.text("openstack/latest/user_data")).toBe("second");
  });

  it("of a rescued instance is the rescue's, with its password, and the instance's own again afterwards", async () => {
    const stage = await openStage();
    await stage.driver.spawn(spec({ userData: "mine" }, { adminPassword: "own" }));
    await stage.driver.rescue(instance, { imageId: "rescue", adminPassword: "rescue" });
    expect(driveOf(stage)?.json(META)).toMatchObject({ uuid: instance.uuid, admin_pass: "rescue" });
    expect(driveOf(stage)?.text("openstack/latest/user_data")).toBe("mine");
    expect((await stage.driver.listDisks(instance)).map(({ id }) => id)).not.toContain("config");
    await stage.driver.unrescue(instance);
    expect(driveOf(stage)?.json(META)).toMatchObject({ admin_pass: "own" });
    expect(await stage.driver.getInstanceDiskInfo(instance)).toHaveLength(2);
  });

  it("of a rebuilt instance is made anew, with what rebuild was given", async () => {
    const stage = await openStage();
    await stage.driver.spawn(spec({ userData: "mine" }, { adminPassword: "first" }));
    const injectedFiles = [{ path: "/etc/motd", contents: Buffer.from("again") }];
    await stage.driver.rebuild(instance, "debian", { adminPassword: "second", injectedFiles, preserveEphemeral: true });
    expect(driveOf(stage)?.json(META)).toMatchObject({ admin_pass: "second", files: [{ path: "/etc/motd" }] });
    expect(driveOf(stage)?.json("ec2/latest/meta-data.json")).toMatchObject({ "ami-id": "debian" });
    expect(driveOf(stage)?.text("openstack/content/0000")).toBe("again");
  });

  it("stays as it was when the instance is resized, and when that is reverted", async () => {
    const stage = await openStage();
    await stage.driver.spawn(spec({}, { adminPassword: "hunter2" }));
    const before = driveOf(stage)?.text(META);
    await stage.driver.resize(instance, { ...TWO_GIB, vcpus: 2, swapMiB: 64 }).result;
    expect(driveOf(stage)?.text(META)).toBe(before);
    await stage.driver.finishRevertMigration(instance);
    expect(driveOf(stage)?.text(META)).toBe(before);
  });

  it("goes along in a cold migration over shared storage", async () => {
    const { world, source, destination } = await twoHosts("shared");
    await source.spawn(spec({}, { adminPassword: "hunter2" }));
    const before = driveOf({ world })?.text(META);
    const ticket = await source.migrateDiskAndPowerOff(
      instance,
      { ...TWO_GIB, vcpus: 2 },
      { destination: "shared-storage" },
    );
    await destination.finishMigration(instance, ticket);
    await source.confirmMigration(instance);
    await destination.confirmMigration(instance);
    expect(before).toContain("hunter2");
    expect(driveOf({ world })?.text(META)).toBe(before);
    world.assertSound();
  });

  it.each(["shared", "separate"] as const)("goes along in a live migration with %s storage", async (storage) => {
    const { world, source, destination } = await twoHosts(storage);
    await source.spawn(spec({}, { adminPassword: "hunter2", blockDevices: [] }));
    const before = driveOf({ world })?.text(META);
    await liveMigrate(source, destination, instance).result;
    expect(before).toContain("hunter2");
    expect(driveOf({ world })?.text(META)).toBe(before);
    expect((await destination.listDisks(instance)).find(({ id }) => id === "config")).toMatchObject({ readOnly: true });
    const calls = JSON.stringify([...source.calls, ...destination.calls]);
    expect(calls.includes('"configDriveSecret":"[redacted]"')).toBe(storage === "separate");
    expect(calls.replaceAll('"configDriveSecret":"[redacted]"', "")).not.toContain("configDriveSecret");
    world.assertSound();
  });

  it("keeps its name though another disk's became free, wherever the instance goes", async () => {
    const { source, destination } = await twoHosts("shared");
    const first = blockDevice("vol-1", { bus: "sata", deviceName: "sda" });
    await source.spawn(spec({}, { blockDevices: [first] }));
    await source.detachVolume(instance, first.connection);
    await liveMigrate(source, destination, instance).result;
    expect((await destination.listDisks(instance)).find(({ id }) => id === "config")?.deviceName).toBe("sdb");
  });

  it("is no part of a backup", async () => {
    const stage = await openStage();
    await stage.driver.spawn(spec());
    const { disks } = await stage.driver.backup(instance, { directory: "/backups" }).result;
    expect(disks.map(({ diskId }) => diskId)).toEqual(["root"]);
  });

  it("keeps an instance from becoming a template", async () => {
    const stage = await openStage();
    await stage.driver.spawn(spec({}, { blockDevices: [] }));
    const error = await failureOf(stage.driver.saveTemplate(instance, "/templates/web").result);
    expect(error).toMatchObject({ code: "CONFLICT", device: "config" });
  });
});

describe("a config drive that can't be", () => {
  it("is refused by a driver whose guests have none", async () => {
    const driver = FakeDriver.withCapabilities("minimal");
    await driver.initHost();
    expect(driver.capabilities.flags.configDrive).toBe(false);
    const error = await failureOf(driver.spawn(spec({}, { blockDevices: [] })));
    expect(error).toMatchObject({ code: "NOT_SUPPORTED", capability: "configDrive" });
    expect(driver.world.ledger()).toEqual([]);
  });

  it.each<[string, ConfigDrive | object]>([
    ["spec.configDrive.layout", { layout: "ec2" }],
    ["spec.configDrive.format", { format: "ext4" }],
    ["spec.configDrive.bus", { bus: "fdc" }],
    ["spec.configDrive.bus", { bus: "ide", format: "vfat" }],
    ["spec.configDrive.bus", { bus: "sata", format: "vfat" }],
    ["spec.configDrive.hostname", { hostname: "-web" }],
    ["spec.configDrive.hostname", { hostname: "a b" }],
    ["spec.configDrive.userData", { userData: 7 }],
    ["spec.configDrive.userData", { userData: "\ud800" }],
    ["spec.configDrive.userData", { userData: "x".repeat(65_536) }],
    ["spec.configDrive.userData", { userData: "ä".repeat(40_000) }],
    ["spec.configDrive.userData", { userData: "no base64!", userDataEncoding: "base64" }],
    ["spec.configDrive.vendorData", { vendorData: [1] }],
    ["spec.configDrive.vendorData2", { layout: "nocloud", vendorData2: {} }],
    ["spec.configDrive.publicKeys.ours", { publicKeys: { ours: "ssh-rsa AAAA\nssh-rsa BBBB" } }],
    ["spec.configDrive.launchIndex", { launchIndex: -1 }],
    ["spec.configDrive.networkConfig", { networkConfig: 3 }],
    ["spec.configDrive.deviceName", { deviceName: "vdz" }],
    ["spec.configDrive.unknown", { unknown: true }],
  ])("is refused at the door, naming %s", async (field, configDrive) => {
    const { driver, world } = await openStage();
    const before = world.ledger();
    const error = await failureOf(driver.spawn(spec(configDrive)));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field });
    expect(world.ledger()).toEqual(before);
  });

  it("is refused where another disk has its name", async () => {
    const { driver } = await openStage();
    const blockDevices = [blockDevice("vol-1", { bus: "sata", deviceName: "sda" })];
    const error = await failureOf(driver.spawn(spec({ deviceName: "sda" }, { blockDevices })));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field: "spec.configDrive.deviceName" });
  });

  it("shows nothing of the user data in its error", async () => {
    const { driver } = await openStage();
    const error = await failureOf(driver.spawn(spec({ userData: "password: hunter2".repeat(9_000) })));
    expect(`${error?.message} ${JSON.stringify(error)}`).not.toContain("hunter2");
  });

  it("lets a password in only where there is one, or the hypervisor can inject", async () => {
    const driver = FakeDriver.withCapabilities("kvm");
    await driver.initHost();
    const error = await failureOf(driver.spawn(smallSpec({ flavor: TWO_GIB, blockDevices: [], adminPassword: "x" })));
    expect(error).toMatchObject({ code: "NOT_SUPPORTED", capability: "injectAtSpawn" });
    await driver.spawn(spec({}, { blockDevices: [], adminPassword: "x" }));
  });
});

async function twoHosts(
  storage: "shared" | "separate",
): Promise<{ readonly world: FakeWorld; readonly source: FakeDriver; readonly destination: FakeDriver }> {
  const place = (name: string): { name: string; storage: string } => ({
    name,
    storage: storage === "shared" ? "shared" : name,
  });
  const world = new FakeWorld({ hosts: [place("a"), place("b")] });
  world.volumes.create({ volumeId: "vol-1" });
  const source = new FakeDriver({ world, host: "a" });
  const destination = new FakeDriver({ world, host: "b" });
  await source.initHost();
  await destination.initHost();
  return { world, source, destination };
}

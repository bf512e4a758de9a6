import { describe, expect, it } from "vitest";
import type { OperationProgress } from "../../../src/core/index.js";
import { HYPERVISOR_FEATURES } from "../../../src/driver/index.js";
import type { InstanceSpec } from "../../../src/driver/index.js";
import { FakeDriver, FakeWorld } from "../../../src/fake/index.js";
import { failureOf, instance, openStage, worldOf } from "./support/scenarios.js";
import { blockDevice, connection, fullSpec, OTHER_UUID, smallSpec, vif } from "./support/specs.js";

describe("spawn", () => {
  it("makes what the spec says, in its order", async () => {
    const { driver, world } = await openStage();
    expect(await driver.spawn(fullSpec())).toEqual({ instance, state: "running" });
    expect(await driver.getSpec(instance)).toEqual(fullSpec());
    const { definition } = world.guest(instance.uuid);
    expect(definition).toMatchObject({
      vcpus: 2,
      memoryMiB: 512,
      cpuTopology: { sockets: 1, cores: 2, threads: 1 },
      machine: "q35",
      firmware: "bios",
      guestAgent: true,
    });
    expect(definition.disks.map(({ id, deviceName, bootIndex }) => [id, deviceName, bootIndex])).toEqual([
      ["root", "vda", 0],
      ["ephemeral0", "vdb", undefined],
      ["swap", "vdc", undefined],
      ["volume-vol-1", "vdd", undefined],
      ["volume-vol-2", "sda", undefined],
    ]);
    expect(definition.nics.map(({ id, model, queues }) => [id, model, queues])).toEqual([
      [vif(1).id, "virtio", 1],
      [vif(2).id, "virtio", 1],
    ]);
    const sizes = (await driver.getInstanceDiskInfo(instance)).map(({ name, virtualSizeBytes }) => [
      name,
      virtualSizeBytes,
    ]);
    expect(Object.fromEntries(sizes)).toEqual({ root: 4 * 1024 ** 3, ephemeral0: 1024 ** 3, swap: 128 * 1024 ** 2 });
    world.assertSound();
  });

  it("takes the image's size for a flavor without one", async () => {
    const { driver } = await openStage();
    await driver.spawn(smallSpec({ flavor: { vcpus: 1, memoryMiB: 256, rootGiB: 0 } }));
    expect(await driver.getInstanceDiskInfo(instance)).toMatchObject([
      { name: "root", virtualSizeBytes: 112 * 1024 ** 2 },
    ]);
  });

  it("boots from a volume, from a kernel, or from what comes first", async () => {
    const { imageId: _imageId, ...bare } = smallSpec();
    for (const [spec, boots] of [
      [{ ...bare, blockDevices: [blockDevice("vol-1", { bootIndex: 0 })] }, [["volume-vol-1", 0]]],
      [{ ...bare, kernel: { kernelImageId: "kernel", commandLine: "quiet" } }, [["volume-vol-1", undefined]]],
      [
        smallSpec({ blockDevices: [blockDevice("vol-1", { bootIndex: 0 })] }),
        [
          ["root", 1],
          ["volume-vol-1", 0],
        ],
      ],
    ] as const) {
      const { driver, world } = await openStage();
      await driver.spawn(spec);
      const { disks, kernel } = world.guest(instance.uuid).definition;
      expect(disks.map(({ id, bootIndex }) => [id, bootIndex])).toEqual(boots);
      expect(kernel?.commandLine).toBe(spec.kernel?.commandLine);
    }
  });

  it("boots an image with the kernel that it names, and hands that on to snapshots", async () => {
    const { driver, world } = await openStage();
    const properties = { kernel_id: "kernel", ramdisk_id: "ramdisk", os_command_line: "quiet", os_distro: "x" };
    world.images.add({ id: "ami", format: "ami", sizeBytes: 1024 ** 2, virtualSizeBytes: 1024 ** 2, properties });
    await driver.spawn(smallSpec({ imageId: "ami" }));
    expect(world.guest(instance.uuid).definition.kernel).toMatchObject({
      kernelPath: expect.stringContaining("kernel") as string,
      ramdiskPath: expect.stringContaining("ramdisk") as string,
      commandLine: "quiet",
    });
    const snapshot = await driver.snapshot(instance, "snap", { format: "raw", properties: { user_id: "u" } }).result;
    expect(snapshot).toMatchObject({
      format: "ami",
      properties: {
        kernel_id: "kernel",
        ramdisk_id: "ramdisk",
        os_distro: "x",
        base_image_ref: "ami",
        image_type: "snapshot",
        instance_uuid: instance.uuid,
        user_id: "u",
      },
    });
  });

  it("leaves the names that the caller chose, and gives the others what is left", async () => {
    const { driver } = await openStage();
    const blockDevices = [
      blockDevice("vol-1"),
      blockDevice("vol-2", { deviceName: "vda" }),
      blockDevice("vol-3", { bus: "sata" }),
    ];
    await driver.spawn(smallSpec({ blockDevices }));
    expect((await driver.listDisks(instance)).map(({ id, deviceName }) => [id, deviceName])).toEqual([
      ["root", "vdb"],
      ["volume-vol-1", "vdc"],
      ["volume-vol-2", "vda"],
      ["volume-vol-3", "sda"],
    ]);
  });

  it("does not start a guest that is not to be powered on", async () => {
    const { driver, world } = await openStage();
    expect(await driver.spawn(smallSpec(), { powerOn: false })).toEqual({ instance, state: "shutdown" });
    expect(await driver.getInfo(instance)).toMatchObject({ state: "shutdown" });
    expect(world.guest(instance.uuid).boots).toBe(0);
    await driver.powerOn(instance);
    expect(world.guest(instance.uuid).boots).toBe(1);
  });

  it("tells how far it is", async () => {
    const { driver } = await openStage();
    const phases: OperationProgress[] = [];
    await driver.spawn(fullSpec(), { onProgress: (progress) => phases.push(progress) });
    const names = phases.map(({ phase }) => phase).filter((phase, i, all) => phase !== all[i - 1]);
    expect(names).toEqual(["image", "disks", "volumes", "network", "define", "boot"]);
    for (const { fraction = 0 } of phases) expect(fraction >= 0 && fraction <= 1).toBe(true);
  });

  it("takes disks that were kept for the instance as they are", async () => {
    const { driver, world } = await openStage();
    await driver.spawn(smallSpec());
    world.guest(instance.uuid).write("root", "precious");
    await driver.destroy(instance, { destroyDisks: false });
    expect(await driver.instanceOnDisk(instance)).toBe(true);
    await driver.spawn(smallSpec());
    expect(world.guest(instance.uuid).read("root")).toContain("precious");
  });

  it("puts a password and files into the guest before it boots, and keeps them nowhere", async () => {
    const { driver, world } = await openStage();
    const injectedFiles = [{ path: "/etc/motd", contents: Buffer.from("welcome") }];
    await driver.spawn(smallSpec({ adminPassword: "hunter2", injectedFiles }));
    const guest = world.guest(instance.uuid);
    expect(guest.checkPassword("root", "hunter2")).toBe(true);
    expect(guest.file("/etc/motd")).toBe("welcome");
    expect(await driver.getSpec(instance)).toEqual(smallSpec());
    expect(JSON.stringify([...driver.host.state.values(), driver.calls])).not.toContain("hunter2");
  });

  it("refuses to inject where the hypervisor can't", async () => {
    const driver = FakeDriver.withCapabilities(HYPERVISOR_FEATURES.filter((feature) => feature !== "injectAtSpawn"));
    await driver.initHost();
    const error = await failureOf(driver.spawn(smallSpec({ adminPassword: "x", blockDevices: [] })));
    expect(error).toMatchObject({ code: "NOT_SUPPORTED", capability: "injectAtSpawn" });
  });

  const REFUSALS: readonly (readonly [what: string, changes: Partial<InstanceSpec>, code: string])[] = [
    ["an image that is not there", { imageId: "missing" }, "IMAGE_NOT_FOUND"],
    ["a kernel that is not there", { kernel: { kernelImageId: "missing" } }, "IMAGE_NOT_FOUND"],
    [
      "an image that wants a larger disk",
      { imageId: "debian", flavor: { vcpus: 1, memoryMiB: 512, rootGiB: 1 } },
      "FLAVOR_DISK_TOO_SMALL",
    ],
    [
      "an image that wants more memory",
      { imageId: "debian", flavor: { vcpus: 1, memoryMiB: 128, rootGiB: 4 } },
      "FLAVOR_MEMORY_TOO_SMALL",
    ],
    ["a guest larger than the host", { flavor: { vcpus: 1, memoryMiB: 1_000_000, rootGiB: 1 } }, "NO_CAPACITY"],
    ["a volume that is not there", { blockDevices: [blockDevice("missing")] }, "VOLUME_CONNECT_FAILED"],
    [
      "a volume of a type that nobody serves",
      { blockDevices: [{ connection: connection("vol-1", { type: "ceph" }) }] },
      "NOT_SUPPORTED",
    ],
    ["a name that is taken", { uuid: OTHER_UUID, name: "taken" }, "INSTANCE_EXISTS"],
    ["a uuid that is taken", { uuid: OTHER_UUID.replace("9", "8"), name: "other" }, "INSTANCE_EXISTS"],
    ["a port that is taken", { vifs: [vif(7, { macAddress: "52:54:00:00:00:77" })] }, "CONFLICT"],
    ["a MAC address that is taken", { vifs: [vif(8, { macAddress: vif(7).macAddress })] }, "CONFLICT"],
    ["a volume that is taken", { blockDevices: [blockDevice("vol-2")] }, "CONFLICT"],
  ];

  it.each(REFUSALS)("refuses %s, and leaves nothing", async (_what, changes, code) => {
    const stage = await openStage();
    await stage.driver.spawn(
      smallSpec({
        uuid: OTHER_UUID.replace("9", "8"),
        name: "taken",
        blockDevices: [blockDevice("vol-2")],
        vifs: [vif(7)],
      }),
    );
    const before = worldOf(stage);
    const error = await failureOf(stage.driver.spawn(smallSpec(changes)));
    expect(error?.code).toBe(code);
    expect(error?.undoErrors ?? []).toEqual([]);
    expect(worldOf(stage)).toEqual(before);
  });

  it("refuses an image whose bytes are not what its record says", async () => {
    const stage = await openStage();
    stage.world.images.add({ id: "bad", format: "qcow2", sizeBytes: 1, virtualSizeBytes: 1 }, { corrupt: true });
    expect((await failureOf(stage.driver.spawn(smallSpec({ imageId: "bad" }))))?.code).toBe("IMAGE_UNACCEPTABLE");
    expect(stage.world.ledger()).toEqual([]);
  });

  it("leaves nothing on a full disk", async () => {
    const world = new FakeWorld({ hosts: [{ storageOptions: { capacityBytes: 300 * 1024 ** 2, thick: true } }] });
    const driver = new FakeDriver({ world });
    await driver.initHost();
    expect((await failureOf(driver.spawn(smallSpec({ blockDevices: [] }))))?.code).toBe("DISK_FULL");
    expect(world.ledger()).toEqual([]);
  });

  it("leaves nothing of a guest that does not start", async () => {
    const stage = await openStage();
    stage.world.setBehaviour(instance.uuid, { startError: "no such CPU" });
    expect(await failureOf(stage.driver.spawn(smallSpec()))).toMatchObject({ code: "GUEST_START_FAILED", instance });
    expect(stage.world.ledger()).toEqual([]);
  });

  it("does not wait for ever for a guest to start", async () => {
    const stage = await openStage();
    stage.driver.faults.hang("guest.start");
    expect((await failureOf(stage.driver.spawn(smallSpec())))?.code).toBe("DEADLINE_EXCEEDED");
    expect(stage.world.ledger()).toEqual([]);
  });

  it("gives what a collaborator throws a code of its own, and keeps its words from tenants", async () => {
    const stage = await openStage();
    stage.driver.faults.failOn("disks.create", { error: new TypeError("/srv/secret/path is undefined") });
    const error = await failureOf(stage.driver.spawn(smallSpec()));
    expect(error).toMatchObject({
      code: "INTERNAL",
      detail: "/srv/secret/path is undefined",
      cause: { name: "TypeError" },
    });
    expect(JSON.stringify(error)).not.toContain("secret");
    expect(stage.world.ledger()).toEqual([]);
  });
});

describe("plan", () => {
  it("says what spawn would do, and does nothing", async () => {
    const stage = await openStage();
    const trace = stage.driver.faults.startTrace();
    const { steps, hypervisor } = await stage.driver.plan(fullSpec());
    expect(steps).toEqual([
      "write the instance's record",
      "fetch image cirros",
      "create disk root",
      "create disk ephemeral0",
      "create disk swap",
      "connect volume vol-1",
      "connect volume vol-2",
      `plug port ${vif(1).id}`,
      `plug port ${vif(2).id}`,
      "set up filters",
      "define the guest",
      "apply filters",
      "start the guest",
    ]);
    expect(hypervisor).toBeDefined();
    expect(trace.passed.filter(({ point }) => !point.startsWith("driver."))).toEqual([]);
    expect(stage.world.ledger()).toEqual([]);
  });

  it("refuses what spawn refuses at the door", async () => {
    const { driver } = await openStage();
    const spec = smallSpec({ vifs: [vif(1, { queues: 0 })] });
    expect(await failureOf(driver.plan(spec))).toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "spec.vifs[0].queues",
    });
    expect(await failureOf(driver.spawn(spec))).toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "spec.vifs[0].queues",
    });
  });
});

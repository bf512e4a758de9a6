import { describe, expect, it } from "vitest";
import { blockDevicesOf, mapBlockDevices, validateInstanceSpec } from "../../../src/driver/index.js";
import { planSpawn } from "../../../src/driver/plan-spawn.js";
import type { BlockDeviceMapping, MapBlockDevicesRequest } from "../../../src/driver/index.js";

const IMAGE = "b1a7d8f0-image";
const flavor = { rootGiB: 10, ephemeralGiB: 20, swapMiB: 512 };
const small = { rootGiB: 1 };
const rootImage = { source_type: "image", uuid: IMAGE, boot_index: 0, destination_type: "local" } as const;
const volume = (uuid: string, more: Partial<BlockDeviceMapping> = {}): BlockDeviceMapping => ({
  source_type: "volume",
  destination_type: "volume",
  uuid,
  ...more,
});
const refused = (entry: object, request: MapBlockDevicesRequest = { imageId: IMAGE, flavor }): unknown => {
  try {
    return mapBlockDevices([entry as BlockDeviceMapping], request);
  } catch (error) {
    return error;
  }
};

describe("a block device mapping", () => {
  it("becomes the places that Nova gives: root, ephemeral, swap, then volumes in their order", () => {
    const mapped = mapBlockDevices(
      [
        volume("late", { device_name: "/dev/vdz", tag: "logs", delete_on_termination: true }),
        { source_type: "blank", destination_type: "local", guest_format: "ext4", volume_size: 5 },
        rootImage,
        { source_type: "blank", destination_type: "local", guest_format: "swap", volume_size: 256 },
        volume("next"),
        volume("disc", { device_type: "cdrom", disk_bus: null }),
        { source_type: "snapshot", uuid: "snap", destination_type: "volume", disk_bus: "scsi", boot_index: -1 },
        { source_type: "blank", destination_type: "volume", volume_size: 3, volume_type: "fast" },
        volume("unwanted", { no_device: true }),
      ],
      { imageId: IMAGE, flavor },
    );
    expect(mapped.spec).toEqual({
      imageId: IMAGE,
      flavor: { rootGiB: 10, ephemeralGiB: 5, swapMiB: 256 },
      ephemeralFormat: "ext4",
    });
    expect(mapped.rootDeviceName).toBe("vda");
    const disk = { bus: "virtio", deviceType: "disk" };
    expect(mapped.volumes).toEqual([
      {
        index: 0,
        volume: { kind: "existing", volumeId: "late" },
        deleteOnTermination: true,
        device: { ...disk, deviceName: "vdz", tag: "logs" },
      },
      {
        index: 4,
        volume: { kind: "existing", volumeId: "next" },
        deleteOnTermination: false,
        device: { ...disk, deviceName: "vdd" },
      },
      {
        index: 5,
        volume: { kind: "existing", volumeId: "disc" },
        deleteOnTermination: false,
        device: { deviceName: "sda", bus: "sata", deviceType: "cdrom" },
      },
      {
        index: 6,
        volume: { kind: "new", from: { type: "snapshot", id: "snap" } },
        deleteOnTermination: false,
        device: { deviceName: "sdb", bus: "scsi", deviceType: "disk" },
      },
      {
        index: 7,
        volume: { kind: "new", from: { type: "blank" }, sizeGiB: 3, volumeType: "fast" },
        deleteOnTermination: false,
        device: { ...disk, deviceName: "vde" },
      },
    ]);
  });

  it("gives the names that the spec made of it then has", () => {
    const mapped = mapBlockDevices([volume("boot", { boot_index: 0 }), volume("data", { boot_index: 1 })], { flavor });
    expect(mapped.rootDeviceName).toBe("vda");
    const blockDevices = blockDevicesOf(mapped.volumes, ({ volume: wanted }) =>
      wanted.kind === "existing"
        ? { volumeId: wanted.volumeId, type: "local", data: { path: "/volumes/a", format: "raw" } }
        : undefined,
    );
    const spec = validateInstanceSpec({
      uuid: "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001",
      name: "web",
      ...mapped.spec,
      flavor: { vcpus: 1, memoryMiB: 64, ...mapped.spec.flavor },
      blockDevices,
    });
    const plan = planSpawn(spec);
    expect(plan.volumes.map(({ deviceName, bootIndex }) => [deviceName, bootIndex])).toEqual([
      ["vda", 0],
      ["vdd", 1],
    ]);
    expect(plan.disks.map(({ name, deviceName }) => [name, deviceName])).toEqual([
      ["ephemeral0", "vdb"],
      ["swap", "vdc"],
    ]);
    expect(() => blockDevicesOf(mapped.volumes, () => undefined)).toThrow(/mappings\[0\]/);
  });

  it.each([
    [{ device_name: "/dev/vdc" }, "virtio", "vdc"],
    [{ device_name: "hdc" }, "ide", "hdc"],
    [{ device_name: "/dev/sdc" }, "scsi", "sdc"],
    [{ device_name: "/dev/sdc", disk_bus: "sata" }, "sata", "sdc"],
    [{ device_type: "floppy" }, "fdc", "fd0"],
    [{ disk_bus: "nvme" }, "nvme", "nvme0n1"],
    [{}, "virtio", "vdb"],
  ] as const)("%j is on the %s bus as %s", (more, bus, deviceName) => {
    const { volumes } = mapBlockDevices([rootImage, volume("v", more)], { imageId: IMAGE, flavor: small });
    expect(volumes[0]?.device).toMatchObject({ bus, deviceName });
  });

  it("leaves the flavor's own disks where it has none", () => {
    expect(mapBlockDevices([], { imageId: IMAGE, flavor })).toEqual({
      spec: { imageId: IMAGE, flavor },
      volumes: [],
      rootDeviceName: "vda",
    });
    expect(mapBlockDevices([], { flavor: small })).toEqual({ spec: { flavor: small }, volumes: [] });
  });

  it.each([
    ["source_type", { source_type: "tape" }],
    ["uuid", { source_type: "volume" }],
    ["uuid", { source_type: "volume", uuid: "../x" }],
    ["uuid", { source_type: "blank", uuid: "x", destination_type: "local" }],
    ["destination_type", { source_type: "image", uuid: "another", destination_type: "local" }],
    ["destination_type", { source_type: "volume", uuid: "v", destination_type: "local" }],
    ["destination_type", { source_type: "snapshot", uuid: "v", destination_type: "local" }],
    ["volume_size", { source_type: "image", uuid: "v", destination_type: "volume" }],
    ["volume_size", { source_type: "blank", destination_type: "volume", volume_size: 0 }],
    ["volume_size", { source_type: "blank", destination_type: "local", volume_size: 21 }],
    ["volume_size", { source_type: "blank", destination_type: "local", guest_format: "swap", volume_size: 513 }],
    ["guest_format", { source_type: "blank", destination_type: "local", guest_format: "reiserfs" }],
    ["boot_index", { source_type: "volume", uuid: "v", boot_index: 1 }],
    ["device_name", { source_type: "volume", uuid: "v", device_name: "/dev/vda1" }],
    ["device_name", { source_type: "volume", uuid: "v", device_name: "sdb", disk_bus: "virtio" }],
    ["device_name", { ...rootImage, device_name: "vdc" }],
    ["disk_bus", { ...rootImage, disk_bus: "scsi" }],
    ["disk_bus", { source_type: "volume", uuid: "v", disk_bus: "fdc" }],
    ["disk_bus", { source_type: "volume", uuid: "v", disk_bus: "xen" }],
    ["tag", { source_type: "volume", uuid: "v", tag: "a,b" }],
    ["colour", { source_type: "volume", uuid: "v", colour: "red" }],
  ])("names the bad field %s of %j", (field, entry) => {
    expect(refused(entry)).toMatchObject({ code: "INVALID_ARGUMENT", field: `mappings[0].${field}` });
  });

  it("refuses what no guest can have", () => {
    const twice =
      (...entries: BlockDeviceMapping[]): (() => unknown) =>
      () =>
        mapBlockDevices(entries, { imageId: IMAGE, flavor });
    const blank = { source_type: "blank", destination_type: "local" } as const;
    expect(refused({ source_type: "volume", uuid: "v", device_type: "lun" })).toMatchObject({ code: "NOT_SUPPORTED" });
    expect(twice(blank, blank)).toThrow(expect.objectContaining({ code: "NOT_SUPPORTED" }));
    const swap = { ...blank, guest_format: "swap" };
    expect(twice(swap, swap)).toThrow(expect.objectContaining({ field: "mappings[1].guest_format" }));
    expect(twice(volume("a", { device_name: "vdb" }), volume("b", { device_name: "/dev/vdb" }))).toThrow(
      expect.objectContaining({ field: "mappings[1].device_name" }),
    );
    expect(twice(volume("a", { tag: "x" }), volume("b", { tag: "x" }))).toThrow(
      expect.objectContaining({ field: "mappings[1].tag" }),
    );
    expect(twice(volume("a", { boot_index: 0 }), volume("b", { boot_index: 0 }))).toThrow(
      expect.objectContaining({ field: "mappings[1].boot_index" }),
    );
  });
});

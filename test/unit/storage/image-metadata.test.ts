import { describe, expect, it } from "vitest";
import { kernelOf, snapshotMetadata } from "../../../src/storage/index.js";
import type { ImageMetadata } from "../../../src/storage/index.js";

const GIB = 1024 ** 3;
const UUID = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";

describe("the kernel of an image", () => {
  it("is what its properties say", () => {
    expect(kernelOf({ properties: { kernel_id: "aki-1", ramdisk_id: "ari-1", os_command_line: "quiet" } })).toEqual({
      kernelImageId: "aki-1",
      ramdiskImageId: "ari-1",
      commandLine: "quiet",
    });
    expect(kernelOf({ properties: { kernel_id: "aki-1" } })).toEqual({ kernelImageId: "aki-1" });
  });

  it.each([
    {},
    { properties: {} },
    { properties: { kernel_id: "" } },
    { properties: { kernel_id: "nokernel", ramdisk_id: "x" } },
  ])("is none of %j", (image) => {
    expect(kernelOf(image)).toBeUndefined();
  });

  it.each([{ kernel_id: "../../etc/shadow" }, { kernel_id: "aki", ramdisk_id: "a b" }])(
    "is refused from %j",
    (properties) => {
      expect(() => kernelOf({ properties })).toThrow(expect.objectContaining({ code: "IMAGE_UNACCEPTABLE" }) as Error);
    },
  );
});

describe("the record of a snapshot", () => {
  const base: ImageMetadata = {
    id: "debian",
    format: "qcow2",
    minDiskGiB: 4,
    minMemoryMiB: 256,
    properties: {
      architecture: "x86_64",
      hw_disk_bus: "scsi",
      os_distro: "debian",
      img_signature: "no more",
      image_type: "base",
      owner_id: "somebody",
    },
  };
  const copy = { id: "s", format: "qcow2", virtualSizeBytes: 1.5 * GIB, instanceUuid: UUID } as const;

  it("inherits what is true of the copy too, and says what it is", () => {
    expect(snapshotMetadata({ ...copy, name: "nightly", baseImageId: "debian", base })).toEqual({
      id: "s",
      name: "nightly",
      format: "qcow2",
      virtualSizeBytes: 1.5 * GIB,
      minDiskGiB: 4,
      minMemoryMiB: 256,
      properties: {
        architecture: "x86_64",
        hw_disk_bus: "scsi",
        os_distro: "debian",
        image_type: "snapshot",
        image_location: "snapshot",
        image_state: "available",
        instance_uuid: UUID,
        base_image_ref: "debian",
      },
    });
  });

  it("has the caller's properties, but never those that say what it is", () => {
    const properties = { user_id: "u-1", owner_id: "p-1", os_distro: "mine", image_type: "base", instance_uuid: "x" };
    expect(snapshotMetadata({ ...copy, baseImageId: "debian", base, properties }).properties).toMatchObject({
      user_id: "u-1",
      owner_id: "p-1",
      os_distro: "mine",
      image_type: "snapshot",
      instance_uuid: UUID,
    });
  });

  it("boots with the kernel that the instance boots with, and a raw copy of an ami stays one", () => {
    const ami: ImageMetadata = { id: "ami", format: "ami", properties: { kernel_id: "old" } };
    const kernel = { kernelImageId: "aki-1", ramdiskImageId: "ari-1" };
    const image = snapshotMetadata({ ...copy, format: "raw", base: ami, baseImageId: "ami", kernel });
    expect(image).toMatchObject({
      format: "ami",
      minDiskGiB: 2,
      properties: { kernel_id: "aki-1", ramdisk_id: "ari-1" },
    });
    expect(kernelOf(image)).toEqual(kernel);
    expect(snapshotMetadata({ ...copy, base: ami }).format).toBe("qcow2");
  });

  it("does without an image that was deleted, or that there never was", () => {
    expect(snapshotMetadata({ ...copy, baseImageId: "gone" })).toMatchObject({
      minDiskGiB: 2,
      properties: { base_image_ref: "gone" },
    });
    expect(snapshotMetadata(copy).properties).not.toHaveProperty("base_image_ref");
  });
});

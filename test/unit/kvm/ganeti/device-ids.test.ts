import { describe, expect, it } from "vitest";
import { SlotSet, generateDeviceId, getDriveUri, getExistingDevice, getFreeSlot } from "../../../../src/kvm/index.js";

const code = (value: string): Error => expect.objectContaining({ code: value }) as Error;

describe("what Ganeti's helpers do", () => {
  it("getDriveUri: the URI only for access in user space", () => {
    const link = "/var/run/disk:0";
    expect(getDriveUri({ params: { access: "userspace" } }, link, "rbd:a/b")).toBe("rbd:a/b");
    expect(getDriveUri({ params: { access: "userspace" } }, link, "")).toBe(link);
    expect(getDriveUri({ params: { access: "userspace" } }, link, null)).toBe(link);
    expect(getDriveUri({ params: { access: "kernelspace" } }, link, "rbd:a/b")).toBe(link);
    expect(getDriveUri({}, link, "rbd:a/b")).toBe(link);
  });

  it("generateDeviceId: by the slot until 2.15, by the uuid since", () => {
    const uuid = "932df160-7a22-4067-a566-7e0ca8386133";
    expect(generateDeviceId("disk", { uuid })).toBe("disk-932df160-7a22-4067");
    expect(generateDeviceId("nic", { uuid, slot: 5 }, "2.10")).toBe("hotnic-932df160-pci-5");
    expect(generateDeviceId("disk", { uuid, slot: 12 }, "2.10")).toBe("hotdisk-932df160-pci-12");
    for (const slot of [undefined, 0, 32, 1.5])
      expect(() => generateDeviceId("nic", { uuid, slot }, "2.10")).toThrow(code("INVALID_ARGUMENT"));
  });

  it("getExistingDevice: the first of the uuid", () => {
    const entry = { disk: { uuid: "d1" }, link: "/d1" };
    const runtime = {
      nics: [
        { uuid: "n1", name: "first" },
        { uuid: "n1", name: "second" },
      ],
      disks: [entry],
    };
    expect(getExistingDevice("nic", { uuid: "n1" }, runtime)).toBe(runtime.nics[0]);
    expect(getExistingDevice("disk", { uuid: "d1" }, runtime)).toBe(entry);
    expect(() => getExistingDevice("disk", { uuid: "n1" }, runtime)).toThrow(code("DISK_NOT_FOUND"));
    expect(() => getExistingDevice("nic", { uuid: "d1" }, runtime)).toThrow(code("INTERFACE_NOT_FOUND"));
  });

  it("getFreeSlot: looks, and takes only when it is to", () => {
    const slots = new SlotSet({ of: "PCI slot", size: 4, reserved: [0, 1] });
    expect(getFreeSlot(slots)).toBe(2);
    expect(getFreeSlot(slots)).toBe(2);
    expect(getFreeSlot(slots, { slot: 3, reserve: true })).toBe(3);
    expect(() => getFreeSlot(slots, { slot: 3 })).toThrow(code("CONFLICT"));
    expect(getFreeSlot(slots, { reserve: true })).toBe(2);
    expect(() => getFreeSlot(slots)).toThrow(code("NO_FREE_SLOT"));
    expect(() => getFreeSlot(slots, { slot: 4 })).toThrow(code("INVALID_ARGUMENT"));
  });
});

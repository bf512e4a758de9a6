// A guest that is defined anew finds its devices where they were.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseDomainXml } from "../../../../src/libvirt/index.js";
import { freeDrive, keepPlaces } from "../../../../src/libvirt/driver/plan/index.js";

const domain = (devices: string, machine = "pc-q35-7.2"): ReturnType<typeof parseDomainXml> =>
  parseDomainXml(
    `<domain type='qemu'><name>one</name><os><type arch='x86_64' machine='${machine}'>hvm</type></os><devices>${devices}</devices></domain>`,
  );
const pci = (bus: number, slot = 0): string =>
  `<address type='pci' domain='0x0000' bus='0x0${bus}' slot='0x0${slot}' function='0x0'/>`;
const drive = (unit: number): string => `<address type='drive' controller='0' bus='0' target='0' unit='${unit}'/>`;
const port = (index: number, place = ""): string =>
  `<controller type='pci' index='${index}' model='pcie-root-port'>${place}</controller>`;
const nic = (name: string, mac: number, place = "", alias = true): string =>
  `<interface type='user'><mac address='52:54:00:00:00:0${mac}'/><model type='virtio'/>${alias ? `<alias name='ua-nic-${name}'/>` : ""}${place}</interface>`;
const disk = (name: string, dev: string, place = "", alias = true, bus = "scsi"): string =>
  `<disk type='file' device='disk'><source file='/${name}'/><target dev='${dev}' bus='${bus}'/>${alias ? `<alias name='ua-disk-${name}'/>` : ""}${place}</disk>`;

describe("a domain that is defined anew", () => {
  it("has each device where it was, whatever others have gone, and the controllers that they hang on", () => {
    const before = domain(
      `<controller type='pci' index='0' model='pcie-root'/>${port(1, pci(0, 1))}${port(2, pci(0, 2))}${port(3, pci(0, 3))}
      <controller type='scsi' index='0' model='virtio-scsi'>${pci(3)}</controller><controller type='sata' index='0'>${pci(0, 4)}</controller>
      ${nic("two", 2, pci(2))}<memballoon model='virtio'><alias name='ua-part-balloon'/>${pci(1)}</memballoon>`,
    );
    const planned = domain(
      `<controller type='scsi' index='0' model='virtio-scsi'/><controller type='pci' index='0' model='pcie-root'/>${port(1)}${port(2)}${port(3)}${port(4)}
      ${nic("new", 3)}${nic("two", 2)}<memballoon model='virtio'><alias name='ua-part-balloon'/></memballoon>`,
    );
    const { devices } = keepPlaces(planned, before);
    expect(devices?.interface?.map(({ address }) => address?.bus)).toEqual([undefined, "0x02"]);
    expect(devices?.memballoon?.address?.bus).toBe("0x01");
    expect(devices?.controller?.map(({ type, index, address }) => [type, index, address?.bus, address?.slot])).toEqual([
      ["scsi", 0, "0x03", "0x00"],
      ["pci", 0, undefined, undefined],
      ["pci", 1, "0x00", "0x01"],
      ["pci", 2, "0x00", "0x02"],
      ["pci", 3, "0x00", "0x03"],
      ["pci", 4, undefined, undefined],
      ["sata", 0, "0x00", "0x04"],
    ]);
  });

  it("finds devices that an older release gave no names by what tells them apart, and moves new ones out of their way", () => {
    const before = domain(
      `${disk("old", "sda", drive(1), false)}${disk("old-2", "vda", pci(4), false, "virtio")}${nic("one", 1, pci(5), false)}`,
    );
    const planned = domain(
      `${disk("old", "sda", drive(0))}${disk("new", "sdb", drive(1))}${disk("old-2", "vda", "", true, "virtio")}${nic("one", 1)}`,
    );
    const { devices } = keepPlaces(planned, before);
    expect(devices?.disk?.map(({ address }) => address?.unit ?? address?.bus)).toEqual(["1", "2", "0x04"]);
    expect(devices?.interface?.[0]?.address?.bus).toBe("0x05");
    expect(devices?.interface?.[0]?.alias?.name).toBe("ua-nic-one");
  });

  it("of another machine, or with a disk on another bus, has new places", () => {
    const before = domain(
      `${port(1, pci(0, 1))}${nic("one", 1, pci(1))}${disk("data", "vda", pci(2), true, "virtio")}`,
    );
    for (const planned of [
      domain(nic("one", 1), "pc-i440fx-7.2"),
      domain(`<controller type='pci' index='1' model='pcie-to-pci-bridge'/>${nic("one", 1)}`),
    ])
      expect(keepPlaces(planned, before)).toEqual(planned);
    const moved = domain(disk("data", "sda", drive(0)));
    expect(keepPlaces(moved, before).devices?.disk).toEqual(moved.devices?.disk);
  });

  it("is the same when it is defined so again", () => {
    const before = domain(`${port(1, pci(0, 1))}${nic("one", 1, pci(1))}${disk("a", "sda", drive(0))}`);
    const planned = domain(`${port(1)}${nic("one", 1)}${disk("a", "sda", drive(0))}${disk("b", "sdb", drive(1))}`);
    const once = keepPlaces(planned, before);
    expect(keepPlaces(planned, once)).toEqual(once);
  });
});

describe("a place on a SCSI controller", () => {
  it("is after the highest, else the first that is free, up to what the controller holds", () => {
    const wanted = { type: "drive", controller: "0", bus: "0", target: "0", unit: "0" } as const;
    const units = fc.uniqueArray(fc.integer({ min: 0, max: 255 }), { maxLength: 256 });
    fc.assert(
      fc.property(units, fc.constantFrom("unit", "target"), (taken, key) => {
        const disks = taken.map((number) => ({
          target: { bus: "scsi" },
          address: {
            ...wanted,
            target: key === "target" ? String(number) : "0",
            unit: key === "unit" ? String(number) : "0",
          },
        }));
        const free = freeDrive(wanted, "scsi", disks);
        if (taken.length === 256) return expect(free).toBeUndefined();
        const number = Number(free?.[taken.some((one) => one > 0) ? key : "unit"]);
        expect(taken).not.toContain(number);
        const next = Math.max(-1, ...taken) + 1;
        expect(number).toBe(next < 256 ? next : [...Array(256).keys()].find((one) => !taken.includes(one)));
      }),
    );
  });

  it("does not count disks of other buses and controllers", () => {
    const wanted = { type: "drive", controller: "0", bus: "0", target: "0", unit: "0" } as const;
    const others = [
      { target: { bus: "sata" }, address: wanted },
      { target: { bus: "scsi" }, address: { ...wanted, controller: "1", unit: "7" } },
    ] as const;
    expect(freeDrive(wanted, "scsi", others)).toMatchObject({ unit: "0" });
  });
});

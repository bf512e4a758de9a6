import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InvalidArgumentError, OverflowError } from "../../../src/core/index.js";
import { checkDeviceName, DISK_BUSES, deviceNameAt, devicePrefix, nextDeviceName } from "../../../src/driver/index.js";

const bus = fc.constantFrom(...DISK_BUSES);

describe("device names", () => {
  it("count as Linux does", () => {
    expect(deviceNameAt("virtio", 0)).toBe("vda");
    expect(deviceNameAt("scsi", 25)).toBe("sdz");
    expect(deviceNameAt("sata", 26)).toBe("sdaa");
    expect(deviceNameAt("ide", 27)).toBe("hdab");
    expect(deviceNameAt("usb", 701)).toBe("sdzz");
  });

  it("never repeat on a bus, and are accepted by their own check", () => {
    fc.assert(
      fc.property(bus, fc.nat(701), fc.nat(701), (on, a, b) => {
        expect(deviceNameAt(on, a) === deviceNameAt(on, b)).toBe(a === b);
        expect(checkDeviceName(deviceNameAt(on, a), on, "name")).toBe(deviceNameAt(on, a));
      }),
    );
  });

  it("the next is the first that is free", () => {
    fc.assert(
      fc.property(bus, fc.uniqueArray(fc.nat(60), { maxLength: 40 }), (on, indexes) => {
        const taken = new Set(indexes.map((index) => deviceNameAt(on, index)));
        const name = nextDeviceName(on, taken);
        expect(taken.has(name)).toBe(false);
        for (let index = 0; deviceNameAt(on, index) !== name; index += 1)
          expect(taken).toContain(deviceNameAt(on, index));
      }),
    );
  });

  it("buses that share a prefix share the names", () => {
    expect(nextDeviceName("scsi", new Set(["sda", "sdb"]))).toBe(nextDeviceName("usb", new Set(["sda", "sdb"])));
    expect(devicePrefix("sata")).toBe(devicePrefix("scsi"));
  });

  it("run out with a typed error", () => {
    const all = new Set(Array.from({ length: 702 }, (_, index) => deviceNameAt("virtio", index)));
    expect(() => nextDeviceName("virtio", all)).toThrow(OverflowError);
  });

  it.each(["sda", "vd", "vdA", "vdaaa", "vd1", "../vda", "", 3, undefined, null])("refuse %j on virtio", (name) => {
    expect(() => checkDeviceName(name, "virtio", "options.deviceName")).toThrow(InvalidArgumentError);
  });
});

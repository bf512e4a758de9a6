import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AddressPool } from "../../../../src/network/index.js";
import { canonicalAddress, formatCidr, netmaskOf, nextCidr, parseCidr } from "../../../../src/network/ipam/address.js";
import { eui64Address, randomAddress } from "../../../../src/network/ipam/ipv6-address.js";

describe("a pool of addresses", () => {
  it("hands out a /16 from the bottom to the top, each once", () => {
    const pool = new AddressPool(65_536);
    for (let place = 0; place < 65_536; place++) expect(pool.take()).toBe(place);
    expect(pool.take()).toBeUndefined();
    expect(pool.untouched).toBe(0);
  });

  it("agrees with a set, whatever is touched", () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant("touch" as const), place: fc.integer({ min: -2, max: 70 }) }),
      fc.record({ do: fc.constant("untouch" as const), place: fc.integer({ min: 0, max: 69 }) }),
      fc.record({ do: fc.constant("next" as const), place: fc.integer({ min: 0, max: 80 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const pool = new AddressPool(67);
        const free = new Set(Array.from({ length: 67 }, (_, at) => at));
        for (const { do: what, place } of steps) {
          if (what === "touch") expect(pool.touch(place)).toBe(free.delete(place));
          else if (what === "untouch") {
            pool.untouch(place);
            if (place < 67) free.add(place);
          } else {
            const sorted = [...free].sort((a, b) => a - b);
            expect(pool.next(place)).toBe(sorted[Math.min(place, sorted.length - 1)]);
          }
          expect(pool.untouched).toBe(free.size);
        }
      }),
    );
  });

  it("refuses what is larger than a /8", () => {
    expect(() => new AddressPool(2 ** 24 + 1)).toThrow(expect.objectContaining({ field: "size" }) as Error);
  });
});

describe("addresses", () => {
  it("have one spelling", () => {
    expect(canonicalAddress("FD00:0::0:1", "a")).toBe("fd00::1");
    expect(formatCidr(parseCidr("10.1.2.3/22", "a"))).toBe("10.1.0.0/22");
    expect(netmaskOf(parseCidr("10.0.0.0/20", "a"))).toBe("255.255.240.0");
    expect(nextCidr(parseCidr("255.255.255.0/24", "a"))).toBeUndefined();
    for (const bad of ["10.0.0.256", "010.0.0.1", "1", "::1%eth0", "", "10.0.0.1/8", 7])
      expect(() => canonicalAddress(bad, "a")).toThrow(expect.objectContaining({ field: "a" }) as Error);
  });

  it("of IPv6 are made of the MAC address, or by chance within the prefix", () => {
    const prefix = parseCidr("fd00:1::/64", "a");
    expect(eui64Address(prefix, "fa:16:3e:00:01:02")).toBe("fd00:1::f816:3eff:fe00:102");
    expect(randomAddress(prefix, () => new Uint8Array(16))).toBe("fd00:1::100");
    expect(randomAddress(prefix, () => new Uint8Array(16).fill(255))).toMatch(/^fd00:1::/);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InvalidArgumentError } from "../../../src/core/index.js";
import {
  formatRange,
  linkLocalOf,
  mergeRanges,
  partitionRanges,
  rangeContains,
  rangeOf,
} from "../../../src/firewall/policy/address-range.js";
import type { AddressRange } from "../../../src/firewall/policy/address-range.js";

const version = fc.constantFrom(4 as const, 6 as const);
const small: fc.Arbitrary<AddressRange> = fc
  .tuple(version, fc.bigInt(0n, 60n), fc.bigInt(0n, 20n))
  .map(([ip, first, length]) => ({ version: ip, first, last: first + length }));

function addressesOf(ranges: readonly AddressRange[]): Set<string> {
  const all = new Set<string>();
  for (const { version: ip, first, last } of ranges)
    for (let value = first; value <= last; value++) all.add(`${ip}/${value}`);
  return all;
}

describe("ranges of addresses", () => {
  it.each([
    ["10.0.0.1", "10.0.0.1"],
    ["10.0.0.77/24", "10.0.0.0/24"],
    ["0.0.0.0/0", "0.0.0.0/0"],
    ["FD00:0:0::1", "fd00::1"],
    ["fd00::ff/120", "fd00::/120"],
    ["::/0", "::/0"],
  ])("read %s as %s", (text, written) => expect(formatRange(rangeOf(text))).toBe(written));

  it.each([
    "10.0.0",
    "10.0.0.256",
    "010.0.0.1",
    "0x7f.1",
    "10.0.0.0/33",
    "10.0.0.0/",
    "::1/129",
    "fe80::1%eth0",
    "",
    "a",
    "1",
    "10.0.0.0/8/8",
    "10.0.0.0/ 8",
  ])("refuse %j", (text) => expect(() => rangeOf(text, "rule.cidr")).toThrow(InvalidArgumentError));

  it("that are no prefix are written by their ends", () => {
    expect(formatRange({ version: 4, first: 0x0a000001n, last: 0x0a000009n })).toBe("10.0.0.1-10.0.0.9");
  });

  it("survive being written and read", () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.integer({ min: 0, max: 128 }), (address, length) => {
        const prefix = Math.min(length, address.includes(":") ? 128 : 32);
        const range = rangeOf(`${address}/${prefix}`);
        expect(rangeOf(formatRange(range))).toEqual(range);
        expect(rangeContains(range, rangeOf(address))).toBe(true);
      }),
    );
  });

  it("merge to the fewest that hold the same", () => {
    fc.assert(
      fc.property(fc.array(small, { maxLength: 8 }), (ranges) => {
        const merged = mergeRanges(ranges);
        expect(addressesOf(merged)).toEqual(addressesOf(ranges));
        merged.slice(1).forEach((range, index) => {
          const before = merged[index] as AddressRange;
          expect(range.version > before.version || range.first > before.last + 1n).toBe(true);
        });
      }),
    );
  });

  it("are cut so that none overlap and each has all that was meant for it", () => {
    fc.assert(
      fc.property(fc.array(small, { maxLength: 6 }), (ranges) => {
        const parts = partitionRanges(ranges.map((range, value) => ({ range, value })));
        expect(addressesOf(parts.map(({ range }) => range))).toEqual(addressesOf(ranges));
        const total = parts.reduce((sum, { range }) => sum + addressesOf([range]).size, 0);
        expect(total).toBe(addressesOf(ranges).size);
        for (const { range, values } of parts)
          expect(values).toEqual(ranges.flatMap((given, index) => (rangeContains(given, range) ? [index] : [])));
      }),
    );
  });

  it("make a link-local address of a MAC address", () => {
    expect(formatRange(linkLocalOf("52:54:00:12:34:56"))).toBe("fe80::5054:ff:fe12:3456");
  });
});

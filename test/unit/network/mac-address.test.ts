import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { check } from "../../../src/core/index.js";
import { createMacGenerator } from "../../../src/network/index.js";
import { tapMacOf } from "../../../src/network/mac-address.js";

describe("generated MAC addresses", () => {
  it("are unicast, locally administered, and of the prefix", () => {
    const next = createMacGenerator({ prefix: "52:54:00" });
    for (let i = 0; i < 100; i++) {
      const mac = check.mac()(next(), "mac");
      expect(mac).toMatch(/^52:54:00:/);
      expect(parseInt(mac.slice(0, 2), 16) & 3).toBe(2);
    }
  });

  it("repeat with the seed and differ without", () => {
    const take = (seed: string): string[] => Array.from({ length: 20 }, createMacGenerator({ seed }));
    expect(take("a")).toEqual(take("a"));
    expect(take("a")).not.toEqual(take("b"));
    expect(new Set(take("a")).size).toBe(20);
    const random = createMacGenerator();
    expect(new Set(Array.from({ length: 20 }, random)).size).toBeGreaterThan(15);
  });

  it.each(["", "52:54", "01:00:5e", "00:16:3e", "FA:16:3E", "52:54:00:00"])("refuse the prefix %j", (prefix) => {
    expect(() => createMacGenerator({ prefix })).toThrow(expect.objectContaining({ field: "prefix" }) as Error);
  });

  it("of the host's end never equal the guest's, and are higher than those of most cards", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
        const guest = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
        const host = check.mac()(tapMacOf(guest), "mac");
        expect(host).not.toBe(guest);
        expect(host.slice(2)).toBe(guest.slice(2));
        expect(host >= "fa").toBe(true);
      }),
    );
  });
});

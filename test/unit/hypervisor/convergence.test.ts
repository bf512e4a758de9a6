import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { beginConvergence, converge, downtimeLimit } from "../../../src/hypervisor/index.js";

describe("the longest standstill", () => {
  it("grows by a tenth each time that two passes leave no less, up to what is allowed", () => {
    let state = beginConvergence(500);
    const limits = [];
    for (let pass = 1; pass <= 8; pass++) {
      state = converge(state, pass, 1_000_000);
      limits.push(downtimeLimit(state));
    }
    expect(limits).toEqual([50, 50, 50, 100, 100, 150, 150, 200]);
  });

  it("stays where it is while each pass leaves less", () => {
    let state = beginConvergence(1);
    for (let pass = 1, left = 2 ** 40; pass <= 20; pass++, left /= 2) state = converge(state, pass, left);
    expect(downtimeLimit(state)).toBe(1);
  });

  it("reaches the longest in ten steps", () => {
    let state = beginConvergence(1_000);
    expect(downtimeLimit(state)).toBe(100);
    const limits = Array.from({ length: 40 }, (_, pass) => downtimeLimit((state = converge(state, pass, 5_000))));
    expect(limits).toEqual([...limits].sort((a, b) => a - b));
    expect(new Set(limits).size).toBe(10);
    expect(limits.at(-1)).toBe(1_000);
    let moving = beginConvergence(1_000);
    for (const pass of [1, 2, 3, 4, 5]) moving = converge(moving, pass, 1_000_000 / 2 ** pass);
    expect(downtimeLimit(moving)).toBe(100);
  });

  it("is never below 1 ms, above what is allowed, or shorter than before, whatever is seen", () => {
    const looks = fc.array(fc.tuple(fc.nat(50), fc.nat()), { maxLength: 100 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60_000 }), looks, (longest, seen) => {
        let state = beginConvergence(longest);
        let last = downtimeLimit(state);
        for (const [iteration, remaining] of seen) {
          state = converge(state, iteration, remaining);
          const limit = downtimeLimit(state);
          expect(limit).toBeGreaterThanOrEqual(Math.max(1, last));
          expect(limit).toBeLessThanOrEqual(Math.max(1, longest));
          last = limit;
        }
      }),
    );
  });
});

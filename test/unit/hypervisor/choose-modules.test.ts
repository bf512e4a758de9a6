import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chooseModules } from "../../../src/hypervisor/index.js";

describe("choosing modules", () => {
  it("finds a set of just the size wherever there is one", () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 8 }), { maxLength: 8 });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 0, max: 40 }), (list, total) => {
        const modules = list.map((sizeMiB) => ({ sizeMiB }));
        const chosen = chooseModules(modules, total);
        let possible = false;
        for (let set = 0; set < 1 << list.length; set++)
          possible ||= list.reduce((sum, size, at) => sum + (set & (1 << at) ? size : 0), 0) === total;
        expect(chosen !== undefined).toBe(possible);
        if (chosen === undefined) return;
        expect(chosen.reduce((sum, { sizeMiB }) => sum + sizeMiB, 0)).toBe(total);
        expect(new Set(chosen).size).toBe(chosen.length);
      }),
    );
  });

  it("takes the last first", () => {
    const modules = [
      { sizeMiB: 128, at: 0 },
      { sizeMiB: 128, at: 1 },
    ];
    expect(chooseModules(modules, 128)).toEqual([{ sizeMiB: 128, at: 1 }]);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SlotSet } from "../../../src/kvm/plan/slots.js";

const code = (value: string): Error => expect.objectContaining({ code: value }) as Error;

describe("a set of slots", () => {
  it("gives the first free slot, and looking takes nothing", () => {
    const slots = new SlotSet({ of: "slot", size: 4, reserved: [0, 2] });
    expect(slots.find()).toBe(1);
    expect(slots.find()).toBe(1);
    expect(slots.reserve()).toBe(1);
    expect(slots.reserve()).toBe(3);
    expect(() => slots.find()).toThrow(code("NO_FREE_SLOT"));
  });

  it("gives the slot that is asked for, if it is free and there is one", () => {
    const slots = new SlotSet({ of: "slot", size: 4 });
    expect(slots.reserve(2)).toBe(2);
    expect(() => slots.find(2)).toThrow(code("CONFLICT"));
    expect(() => slots.find(4)).toThrow(code("INVALID_ARGUMENT"));
    expect(() => slots.find(-1)).toThrow(code("INVALID_ARGUMENT"));
    expect(() => slots.find(0.5)).toThrow(code("INVALID_ARGUMENT"));
  });

  it("has nothing when its size is 0", () => {
    const slots = new SlotSet({ of: "slot", size: 0 });
    expect(slots.free).toBe(0);
    expect(() => slots.reserve()).toThrow(code("NO_FREE_SLOT"));
  });

  it("never gives back a reserved slot", () => {
    const slots = new SlotSet({ of: "slot", size: 2, reserved: [0] });
    slots.release(0);
    expect(slots.reserve()).toBe(1);
    slots.release(1);
    slots.release(1);
    expect(slots.reserve()).toBe(1);
  });

  it("behaves as a set of numbers, whatever is done to it", () => {
    const action = fc.oneof(
      fc.record({ do: fc.constant("reserve" as const), slot: fc.option(fc.nat(70), { nil: undefined }) }),
      fc.record({ do: fc.constant("release" as const), slot: fc.nat(70) }),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 66 }),
        fc.uniqueArray(fc.nat(65)),
        fc.array(action),
        (size, wanted, actions) => {
          const reserved = wanted.filter((slot) => slot < size);
          const slots = new SlotSet({ of: "slot", size, reserved });
          const taken = new Set(reserved);
          for (const step of actions) {
            if (step.do === "release") {
              slots.release(step.slot);
              if (!reserved.includes(step.slot)) taken.delete(step.slot);
              continue;
            }
            const first = Array.from({ length: size }, (_, i) => i).find((slot) => !taken.has(slot));
            const possible = step.slot === undefined ? first !== undefined : step.slot < size && !taken.has(step.slot);
            if (!possible) expect(() => slots.reserve(step.slot)).toThrow();
            else {
              const given = slots.reserve(step.slot);
              expect(given).toBe(step.slot ?? first);
              taken.add(given);
            }
          }
          expect(slots.free).toBe(size - taken.size);
          for (let slot = 0; slot < size; slot++) expect(slots.isTaken(slot)).toBe(taken.has(slot));
        },
      ),
    );
  });
});

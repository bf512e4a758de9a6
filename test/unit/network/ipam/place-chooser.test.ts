import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AddressPool } from "../../../../src/network/index.js";
import { PlaceChooser } from "../../../../src/network/ipam/place-chooser.js";

/** Numbers that look random and are the same each time. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

interface Process {
  readonly pool: AddressPool;
  readonly chooser: PlaceChooser;
}

/** Processes that take places in turn, until none is left; each commit is decided by what `taken` says. */
function share(size: number, processes: number): { readonly taken: ReadonlySet<number>; readonly lost: number } {
  const taken = new Set<number>();
  let lost = 0;
  const working = Array.from({ length: processes }, (_, at): Process => {
    const pool = new AddressPool(size);
    return { pool, chooser: new PlaceChooser(pool, numbers(at + 1)) };
  });
  while (working.some(({ pool }) => pool.untouched > 0))
    for (const { pool, chooser } of working) {
      if (chooser.isBehind) {
        for (const place of taken) pool.touch(place);
        chooser.caughtUp();
      }
      const place = chooser.take();
      if (place === undefined) continue;
      if (taken.has(place)) {
        chooser.lost();
        lost += 1;
        continue;
      }
      taken.add(place);
      chooser.caughtUp();
    }
  return { taken, lost };
}

describe("choosing places of a pool", () => {
  it("goes from the lowest on as long as nothing is lost", () => {
    const pool = new AddressPool(300);
    const chooser = new PlaceChooser(pool);
    for (let place = 0; place < 300; place++) expect(chooser.take()).toBe(place);
    expect(chooser.take()).toBeUndefined();
    expect(chooser.chooseAmong(5)).toBe(0);
  });

  it("gives each place once, whatever is lost in between and whatever others have taken", () => {
    const step = fc.oneof(
      { weight: 8, arbitrary: fc.constant("take" as const) },
      fc.constant("lost" as const),
      fc.constant("caughtUp" as const),
      fc.integer({ min: 0, max: 399 }),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 400 }),
        fc.integer({ min: 1, max: 2 ** 31 }),
        fc.array(step, { maxLength: 300 }),
        (size, seed, steps) => {
          const pool = new AddressPool(size);
          const chooser = new PlaceChooser(pool, numbers(seed));
          const gone = new Set<number>();
          const take = (): void => {
            const place = chooser.take();
            expect(place === undefined).toBe(gone.size === size);
            if (place === undefined) return;
            expect(place >= 0 && place < size && !gone.has(place)).toBe(true);
            gone.add(place);
          };
          for (const one of steps) {
            if (one === "take") take();
            else if (one === "lost") chooser.lost();
            else if (one === "caughtUp") chooser.caughtUp();
            else if (pool.touch(one)) gone.add(one);
          }
          while (gone.size < size) take();
          take();
        },
      ),
      { numRuns: 50 },
    );
  });

  it("keeps eight processes apart: few claims are lost, and every place is taken", () => {
    const large = share(65_536, 8);
    expect(large.taken.size).toBe(65_536);
    expect(large.lost / 65_536).toBeLessThan(0.05);
    const small = share(125, 8);
    expect(small.taken.size).toBe(125);
  });

  it("goes back to the lowest place some time after the last claim that was lost", () => {
    const pool = new AddressPool(65_536);
    const chooser = new PlaceChooser(pool, numbers(7));
    chooser.take();
    chooser.lost();
    expect(chooser.isApart).toBe(true);
    let first: number | undefined;
    for (let claim = 0; chooser.isApart && claim < 1_000; claim++) first ??= chooser.take() ?? 0;
    while (chooser.isApart) chooser.take();
    expect(first).toBeGreaterThan(1);
    expect(chooser.take()).toBe(1);
  });
});

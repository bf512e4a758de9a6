import fc from "fast-check";
import { expect, it } from "vitest";
import { isHyperviseError } from "../../../src/core/index.js";
import type { InstanceSpec } from "../../../src/driver/index.js";
import { FakeDriver } from "../../../src/fake/index.js";
import type { FakeWorld, LedgerEntry } from "../../../src/fake/index.js";
import type { VolumeConnection } from "../../../src/storage/index.js";

interface Walk {
  readonly driver: FakeDriver;
  readonly world: FakeWorld;
  readonly spec: InstanceSpec;
  readonly volume: VolumeConnection;
}

/** What a caller, a guest, or bad luck may do next to an instance. */
const STEPS: Record<string, (walk: Walk) => unknown> = {
  spawn: ({ driver, spec }) => driver.spawn(spec),
  destroy: ({ driver, spec }) => driver.destroy(spec),
  powerOff: ({ driver, spec }) => driver.powerOff(spec),
  powerOn: ({ driver, spec }) => driver.powerOn(spec),
  rebootHard: ({ driver, spec }) => driver.reboot(spec, "hard"),
  rebootSoft: ({ driver, spec }) => driver.reboot(spec, "soft"),
  pause: ({ driver, spec }) => driver.pause(spec),
  unpause: ({ driver, spec }) => driver.unpause(spec),
  suspend: ({ driver, spec }) => driver.suspend(spec),
  resume: ({ driver, spec }) => driver.resume(spec),
  attach: ({ driver, spec, volume }) => driver.attachVolume(spec, volume),
  detach: ({ driver, spec, volume }) => driver.detachVolume(spec, volume),
  guestCrashes: ({ world, spec }) => world.crashGuest(spec.uuid),
  guestPowersOff: ({ world, spec }) => world.guest(spec.uuid).powerOff(),
  guestReboots: ({ world, spec }) => world.guest(spec.uuid).reboot(),
  nextFails: ({ driver }) => void driver.faults.failOn("guest.start", { nth: 1, at: "partial" }),
  unplugFails: ({ driver }) => void driver.faults.failOn("vifs.plug", { nth: 1, at: "after" }),
};

it("holds its invariants wherever calls, guests and faults lead it, and forgets nothing at the end", async () => {
  const step = fc.tuple(fc.constantFrom(...Object.keys(STEPS)), fc.nat({ max: 1 }));
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const driver = new FakeDriver();
      await driver.initHost();
      const { world } = driver;
      const instances = [world.spec(), world.spec()];
      const volume = world.volumes.create();
      let isUndone = true;
      for (const [name, which] of steps) {
        try {
          await STEPS[name]!({ driver, world, spec: instances[which]!, volume });
        } catch (error) {
          if (!isHyperviseError(error)) throw error;
          isUndone &&= error.undoErrors.length === 0;
          expect(["INTERNAL", "UNEXPECTED"], `${name}: ${error.message}`).not.toContain(error.code);
        }
        // What could not be undone stays on record, for the next process or the destroy.
        const ignore = ({ kind }: LedgerEntry): boolean => !isUndone && kind === "operation";
        expect(world.checkInvariants({ ignore }), name).toEqual([]);
      }
      driver.faults.clear();
      for (const spec of instances) await driver.destroy(spec);
      await driver.detachVolume(instances[0]!, volume);
      expect(world.ledger()).toEqual([]);
      await driver.close();
    }),
    {
      numRuns: 60,
      examples: [
        [
          [
            ["spawn", 0],
            ["unplugFails", 0],
            ["nextFails", 0],
            ["rebootSoft", 0],
          ],
        ],
      ],
    },
  );
});

import { afterAll, beforeAll, describe, it } from "vitest";
import { FACET_NAMES } from "../../../src/driver/index.js";
import { FakeDriver, fakeSpec, fakeVif } from "../../../src/fake/index.js";
import { defineContractSuite } from "../../../src/testing/contract/index.js";
import type { ContractSubject } from "../../../src/testing/contract/index.js";

/** The suite's hands on a fake driver's host. */
async function openFake(): Promise<ContractSubject> {
  let driver = new FakeDriver();
  return {
    driver,
    spec: (overrides = {}) => fakeSpec(overrides),
    otherImageId: "rescue",
    volume: async () => driver.world.volumes.create({ sizeBytes: 64 * 1_048_576 }),
    vif: () => fakeVif(),
    restart: async () => {
      driver = driver.restart();
      return driver;
    },
    crashGuest: async ({ uuid }) => driver.world.crashGuest(uuid),
    waitUntilBooted: async (_driver, { uuid }) => {
      while (!driver.world.guest(uuid).booted) await driver.clock.sleep(100);
    },
    residue: async () =>
      driver.world
        .ledger()
        .filter(({ kind }) => kind !== "image")
        .map((entry) => JSON.stringify(entry)),
    dispose: () => driver.close(),
  };
}

defineContractSuite(
  { name: "fake", facets: FACET_NAMES, cheapGuests: true, open: openFake },
  { describe, it, beforeAll, afterAll },
);

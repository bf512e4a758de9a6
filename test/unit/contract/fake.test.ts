import { afterAll, beforeAll, describe, it } from "vitest";
import { FACET_NAMES } from "../../../src/driver/index.js";
import { FakeDriver, FakeWorld, fakeSpec, fakeVif } from "../../../src/fake/index.js";
import { defineContractSuite } from "../../../src/testing/contract/index.js";
import type { ContractSubject } from "../../../src/testing/contract/index.js";

/** The suite's hands on a fake driver's host. */
async function openFake(): Promise<ContractSubject> {
  const world = new FakeWorld({ hosts: [{ name: "a" }, { name: "b" }] });
  let driver = new FakeDriver({ world, host: "a" });
  let exports = 0;
  return {
    driver,
    spec: (overrides = {}) => fakeSpec(overrides),
    otherImageId: "rescue",
    volume: async () => driver.world.volumes.create({ sizeBytes: 64 * 1_048_576 }),
    fileVolume: async () => driver.world.volumes.create({ sizeBytes: 64 * 1_048_576, type: "fake-file" }),
    overlay: async (volume) => driver.world.volumes.overlay(volume),
    vif: () => fakeVif(),
    exportDirectory: async () => `/fake/exports/${++exports}`,
    destination: async () => {
      const other = new FakeDriver({ world, host: "b" });
      return { driver: other, dispose: () => other.close() };
    },
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
        .filter(({ kind }) => kind !== "image" && kind !== "exportedFile")
        .map((entry) => JSON.stringify(entry)),
    dispose: () => driver.close(),
  };
}

defineContractSuite(
  { name: "fake", facets: FACET_NAMES, cheapGuests: true, open: openFake },
  { describe, it, beforeAll, afterAll },
);

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  BaseDriver,
  capabilitiesOf,
  FACET_METHODS,
  FACET_NAMES,
  FACET_REQUIREMENTS,
  HANDLE_METHODS,
  HYPERVISOR_FEATURES,
  supports,
} from "../../../src/driver/index.js";
import type { FacetName, HypervisorFeature } from "../../../src/driver/index.js";
import type { OperationHandle } from "../../../src/core/index.js";
import { PartialFakeDriver } from "../../../src/fake/index.js";
import { failureOf } from "./support/scenarios.js";

const METHODS = FACET_NAMES.flatMap((facet) =>
  FACET_METHODS[facet].map((method) => [facet, method as string] as const),
);
const featureSets = fc.subarray([...HYPERVISOR_FEATURES]);

/** The code that a method refuses with when it is called with nothing; a method that takes nothing succeeds. */
async function callBare(driver: object, method: string): Promise<string | undefined> {
  const call = (driver as Record<string, (...args: unknown[]) => unknown>)[method];
  if (call === undefined) throw new Error(`${method} is missing`);
  const answer = async (): Promise<unknown> => {
    const result = call.call(driver);
    return HANDLE_METHODS.has(method) ? (result as OperationHandle<unknown>).result : result;
  };
  return (await failureOf(answer()))?.code;
}

async function opened(features: readonly HypervisorFeature[]): Promise<PartialFakeDriver> {
  const driver = new PartialFakeDriver({}, features);
  await driver.initHost();
  return driver;
}

describe("capabilities", () => {
  it("name each facet exactly once, and each method in one facet", () => {
    expect(Object.keys(FACET_METHODS).sort()).toEqual([...FACET_NAMES].sort());
    const names = METHODS.map(([, method]) => method);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names)
      expect(typeof (BaseDriver.prototype as unknown as Record<string, unknown>)[name]).toBe("function");
  });

  it("follow from the hypervisor's features and nothing else", () => {
    fc.assert(
      fc.property(featureSets, (features) => {
        const { facets, flags, features: kept } = capabilitiesOf(new Set(features));
        for (const facet of FACET_NAMES) {
          expect(facets[facet]).toBe(FACET_REQUIREMENTS[facet].every((feature) => features.includes(feature)));
        }
        expect([...kept].sort()).toEqual([...features].sort());
        expect(flags.injectAtSpawn).toBe(features.includes("injectAtSpawn"));
      }),
    );
  });

  it("never shrink when a hypervisor learns something", () => {
    fc.assert(
      fc.property(featureSets, featureSets, (some, more) => {
        const few = capabilitiesOf(new Set(some)).facets;
        const many = capabilitiesOf(new Set([...some, ...more])).facets;
        for (const facet of FACET_NAMES) if (few[facet]) expect(many[facet]).toBe(true);
      }),
    );
  });

  it("are what the methods do: each refuses exactly when its facet is not there", async () => {
    await fc.assert(
      fc.asyncProperty(featureSets, async (features) => {
        const driver = await opened(features);
        for (const [facet, method] of METHODS) {
          const code = await callBare(driver, method);
          const there = driver.capabilities.facets[facet];
          expect(supports(driver, facet)).toBe(there);
          if (there) expect(code, `${facet}.${method}`).not.toBe("NOT_SUPPORTED");
          else expect(code, `${facet}.${method}`).toBe("NOT_SUPPORTED");
        }
        await driver.close();
      }),
      { numRuns: 12 },
    );
  });

  it.each(FACET_NAMES)("say which facet is missing: %s", async (facet: FacetName) => {
    const missing = FACET_REQUIREMENTS[facet];
    const driver = await opened(HYPERVISOR_FEATURES.filter((feature) => !missing.includes(feature)));
    expect(driver.capabilities.facets[facet]).toBe(missing.length === 0);
    const [method] = FACET_METHODS[facet];
    const call = (driver as unknown as Record<string, (...args: unknown[]) => unknown>)[method];
    if (missing.length === 0) return;
    const result = call?.call(driver);
    const error = await failureOf(
      HANDLE_METHODS.has(method) ? (result as OperationHandle<unknown>).result : (result as Promise<unknown>),
    );
    expect(error).toMatchObject({ code: "NOT_SUPPORTED", capability: facet, retryable: false });
  });

  it("are all false before initHost, and fixed after it", async () => {
    const driver = new PartialFakeDriver({}, HYPERVISOR_FEATURES);
    expect(Object.values(driver.capabilities.facets)).not.toContain(true);
    expect(Object.values(driver.capabilities.flags)).not.toContain(true);
    expect(driver.capabilities.features.size).toBe(0);
    await driver.initHost();
    const { capabilities } = driver;
    expect(Object.values(capabilities.facets)).not.toContain(false);
    await driver.initHost();
    expect(driver.capabilities).toBe(capabilities);
    expect(
      Object.isFrozen(capabilities) && Object.isFrozen(capabilities.facets) && Object.isFrozen(capabilities.flags),
    ).toBe(true);
  });
});

describe("a driver that is not open", () => {
  const CORE = [
    ...[
      "spawn",
      "destroy",
      "cleanup",
      "powerOn",
      "powerOff",
      "reboot",
      "getInfo",
      "getSpec",
      "listInstances",
      "listInstanceUuids",
    ],
    ...[
      "getNumInstances",
      "instanceExists",
      "getInstanceDiskInfo",
      "listTaggedDevices",
      "instanceOnDisk",
      "deleteInstanceFiles",
      "resumeStateOnHostBoot",
    ],
    ...[
      "getAvailableResource",
      "getInventory",
      "estimateInstanceOverhead",
      "getHostIpAddress",
      "getHostUptimeMs",
      "plan",
    ],
  ];
  const all = [...CORE, ...METHODS.map(([, method]) => method)];

  it.each(all)("refuses %s before initHost and after close", async (method) => {
    const driver = new PartialFakeDriver({}, HYPERVISOR_FEATURES);
    expect(await callBare(driver, method)).toBe("NOT_INITIALIZED");
    await driver.initHost();
    await driver.close();
    expect(await callBare(driver, method)).toBe("CLOSED");
  });
});

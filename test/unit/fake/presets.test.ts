import { describe, expect, it } from "vitest";
import { FACET_METHODS, FACET_REQUIREMENTS, supports, withAllFacets } from "../../../src/driver/index.js";
import type { FacetName } from "../../../src/driver/index.js";
import { FAKE_PRESETS, FakeDriver, fakeSpec } from "../../../src/fake/index.js";
import type { FakePresetName } from "../../../src/fake/index.js";
import { KVM_FEATURES } from "../../../src/kvm/index.js";
import { KVM_MACHINES } from "../../../src/kvm/plan/topology.js";
import { bench } from "./parts.js";

const names = Object.keys(FAKE_PRESETS) as FakePresetName[];

describe.each(names)("the preset %s", (name) => {
  it("has exactly the facets that its features make, and refuses the others", async () => {
    const driver = FakeDriver.withCapabilities(name);
    await driver.initHost();
    const spec = fakeSpec();
    await driver.spawn(spec);
    const { features } = FAKE_PRESETS[name];
    for (const facet of Object.keys(FACET_METHODS) as FacetName[]) {
      const has = FACET_REQUIREMENTS[facet].every((feature) => (features as ReadonlySet<string>).has(feature));
      expect(supports(driver, facet), facet).toBe(has);
      if (has) continue;
      const methods = withAllFacets(driver) as unknown as Record<string, (instance: unknown) => unknown>;
      const call = async (): Promise<unknown> => {
        const answer = methods[FACET_METHODS[facet][0]]!(spec);
        return typeof answer === "object" && answer !== null && "result" in answer ? answer.result : answer;
      };
      await expect(call(), facet).rejects.toMatchObject({ code: "NOT_SUPPORTED", capability: facet });
    }
    expect((await driver.getInfo(spec)).state).toBe("running");
    await driver.destroy(spec);
    driver.world.assertSound();
    expect(driver.restart().capabilities).toEqual(FakeDriver.withCapabilities(name).capabilities);
  });
});

describe("the preset of a real driver", () => {
  it("has the features that the driver has", () => {
    expect([...FAKE_PRESETS.kvm.features].sort()).toEqual([...KVM_FEATURES].sort());
    expect([...FAKE_PRESETS.kvm.limits.machines].sort()).toEqual([...KVM_MACHINES].sort());
  });
});

describe("a hypervisor of fewer features", () => {
  it("gives guests without the methods of those it lacks", async () => {
    const { guest } = await bench({}, "minimal");
    const members = [
      "suspend",
      "agent",
      "screenshot",
      "statistics",
      "consoleLog",
      "migrate",
      "mirrorDisk",
      "inject",
      ...(["setVcpus", "setMemory", "setBalloon", "attachDevice", "changeMedium", "limitDisk", "backup"] as const),
      ...(["dumpMemory", "setConsolePassword", "saveTemplate", "startFromTemplate"] as const),
    ] as const;
    for (const member of members) expect(guest[member], member).toBeUndefined();
    const lxc = await bench({}, "lxc");
    expect(lxc.guest.statistics).toBeTypeOf("function");
    expect(lxc.guest.screenshot).toBeUndefined();
  });

  it("takes any set of features", async () => {
    const driver = FakeDriver.withCapabilities(["pause", "screenshot"]);
    await driver.initHost();
    expect([supports(driver, "pause"), supports(driver, "screenshots"), supports(driver, "suspend")]).toEqual([
      true,
      true,
      false,
    ]);
    await driver.close();
  });

  it("refuses machines that it does not have before anything is touched", async () => {
    const driver = FakeDriver.withCapabilities("lxc");
    await driver.initHost();
    const before = driver.world.ledger();
    await expect(driver.spawn(fakeSpec({ firmware: "uefi" }))).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
    await expect(driver.spawn(fakeSpec({ kernel: { kernelImageId: "kernel" } }))).rejects.toMatchObject({
      code: "NOT_SUPPORTED",
    });
    expect(driver.world.ledger()).toEqual(before);
    await driver.close();
  });
});

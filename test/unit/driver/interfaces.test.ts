import { describe, expect, it } from "vitest";
import { failureOf, instance, openStage, worldOf } from "./support/scenarios.js";
import type { Stage } from "./support/scenarios.js";
import type { GuestBehaviour } from "../../../src/fake/index.js";
import { OTHER_UUID, smallSpec, vif } from "./support/specs.js";

async function running(behaviour: Partial<GuestBehaviour> = {}): Promise<Stage> {
  const stage = await openStage();
  stage.world.setBehaviour(instance.uuid, behaviour);
  await stage.driver.spawn(smallSpec());
  return stage;
}

/** The ports that the instance's filters are for. */
function filtered({ driver }: Stage): readonly string[] {
  return driver.host.filters.get(instance.uuid)?.ports.map(({ id }) => id) ?? [];
}

describe("attachInterface", () => {
  it("plugs, filters and gives the guest a NIC", async () => {
    const stage = await running();
    const attached = await stage.driver.attachInterface(instance, vif(3, { tag: "backup", queues: 2 }));
    expect(attached).toMatchObject({ id: vif(3).id, macAddress: vif(3).macAddress });
    expect(await stage.driver.listInterfaces(instance)).toContainEqual(attached);
    expect(stage.world.guest(instance.uuid).definition.nics).toContainEqual(
      expect.objectContaining({ id: vif(3).id, queues: 2 }),
    );
    expect(filtered(stage)).toEqual([vif(1).id, vif(3).id]);
    expect((await stage.driver.getSpec(instance)).vifs).toHaveLength(2);
    stage.world.assertSound();
  });

  it("has the filters in force before the guest has the NIC", async () => {
    const stage = await running();
    const trace = stage.driver.faults.startTrace();
    await stage.driver.attachInterface(instance, vif(3));
    const order = trace.passed.map(({ point }) => point).filter((point) => /plug|Filter|attachNic/.test(point));
    expect(order).toEqual([
      "vifs.plug",
      "firewall.setupBasicFiltering",
      "firewall.prepareInstanceFilter",
      "firewall.applyInstanceFilter",
      "guest.attachNic",
    ]);
  });

  it("goes back to the filters that were there", async () => {
    const stage = await running();
    stage.driver.faults.failOn("guest.attachNic");
    const trace = stage.driver.faults.startTrace();
    await failureOf(stage.driver.attachInterface(instance, vif(3)));
    const points = trace.passed.map(({ point }) => point);
    expect(points.lastIndexOf("firewall.applyInstanceFilter")).toBeGreaterThan(points.indexOf("guest.attachNic"));
    expect(filtered(stage)).toEqual([vif(1).id]);
  });

  it("of what is attached answers the same, and with another MAC address is a conflict", async () => {
    const stage = await running();
    const [first] = await stage.driver.listInterfaces(instance);
    const before = worldOf(stage);
    expect(await stage.driver.attachInterface(instance, vif(1))).toEqual(first);
    for (const changed of [vif(1, { macAddress: "52:54:00:00:00:99" }), vif(9, { macAddress: vif(1).macAddress })]) {
      expect((await failureOf(stage.driver.attachInterface(instance, changed)))?.code).toBe("CONFLICT");
    }
    expect(worldOf(stage)).toEqual(before);
  });

  it("refuses a MAC address that another instance has", async () => {
    const stage = await running();
    const other = { uuid: OTHER_UUID, name: "web-2" };
    await stage.driver.spawn(smallSpec({ ...other, blockDevices: [], vifs: [] }));
    const before = worldOf(stage);
    expect(
      (await failureOf(stage.driver.attachInterface(other, vif(9, { macAddress: vif(1).macAddress }))))?.code,
    ).toBe("CONFLICT");
    expect(worldOf(stage)).toEqual(before);
  });
});

describe("detachInterface", () => {
  it("asks the guest first, and then unplugs", async () => {
    const stage = await running();
    const trace = stage.driver.faults.startTrace();
    await stage.driver.detachInterface(instance, { id: vif(1).id });
    const order = trace.passed
      .map(({ point }) => point)
      .filter((point) => point === "guest.detachNic" || point === "vifs.unplug");
    expect(order).toEqual(["guest.detachNic", "vifs.unplug"]);
    expect(await stage.driver.listInterfaces(instance)).toEqual([]);
    expect((await stage.driver.getSpec(instance)).vifs).toBeUndefined();
    expect(filtered(stage)).toEqual([]);
    stage.world.assertSound();
  });

  it.each(["refuse", "ignore"] as const)(
    "from a guest that does not let go (%s) leaves it attached",
    async (detach) => {
      const stage = await running({ detach });
      const before = worldOf(stage);
      const error = await failureOf(stage.driver.detachInterface(instance, vif(1)));
      expect(error).toMatchObject({
        code: "DEVICE_DETACH_FAILED",
        retryable: true,
        device: vif(1).id,
        instance,
        undoErrors: [],
      });
      expect(worldOf(stage)).toEqual(before);
    },
  );

  it("of what is not attached unplugs it all the same, if it is told how", async () => {
    const stage = await running();
    const other = { uuid: OTHER_UUID, name: "web-2" };
    const trace = stage.driver.faults.startTrace();
    await stage.driver.detachInterface(other, vif(5));
    await stage.driver.detachInterface(other, { id: vif(5).id });
    expect(trace.passed.filter(({ point }) => point === "vifs.unplug")).toHaveLength(1);
  });
});

describe("plugVifs and unplugVifs", () => {
  it("take the host's side of the ports down and up again", async () => {
    const stage = await running();
    await stage.driver.powerOff(instance, { graceMs: 0 });
    const before = worldOf(stage);
    await stage.driver.unplugVifs(instance);
    expect(stage.driver.host.ports.size).toBe(0);
    await stage.driver.plugVifs(instance);
    await stage.driver.plugVifs(instance);
    expect(worldOf(stage)).toEqual(before);
    await stage.driver.unplugVifs(instance);
    await stage.driver.powerOn(instance);
    stage.world.assertSound();
  });
});

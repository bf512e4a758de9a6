/** Guests on a real libvirtd, by LibvirtDriver: in memory, out of it, and as others on the host treat them. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startLibvirtHost } from "../../../lab/libvirt-host.js";
import type { LabLibvirtHost } from "../../../lab/libvirt-host.js";

describe("an instance on libvirt", () => {
  let host: LabLibvirtHost;
  beforeAll(async () => {
    host = await startLibvirtHost();
  }, 120_000);
  afterAll(() => host?.remove());

  it("is spawned, paused, powered off and destroyed", { timeout: 240_000 }, async () => {
    await using driver = host.open();
    await driver.initHost();
    const instance = { uuid: randomUUID(), name: "first" };
    const flavor = { vcpus: 1, memoryMiB: host.memoryMiB, rootGiB: 1 };
    await driver.spawn({ ...instance, flavor, imageId: "guest", vifs: [] });
    expect((await driver.getInfo(instance)).state).toBe("running");
    await driver.pause(instance);
    expect((await driver.getInfo(instance)).state).toBe("paused");
    await driver.unpause(instance);
    expect((await driver.getInfo(instance)).state).toBe("running");
    await driver.powerOff(instance);
    expect((await driver.getInfo(instance)).state).toBe("shutdown");
    await driver.powerOn(instance);
    await driver.destroy(instance);
    expect(await driver.listInstances()).toEqual([]);
  });
});

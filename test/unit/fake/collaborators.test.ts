import { describe, expect, it } from "vitest";
import { Secret, VirtualClock } from "../../../src/core/index.js";
import type { Vif } from "../../../src/network/index.js";
import { createFakeParts, FakeFirewallDriver } from "../../../src/fake/index.js";
import type { FakeDriverOptions } from "../../../src/fake/index.js";

const UUID = "11111111-2222-4333-8444-555555555555";
const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

function parts(options: FakeDriverOptions = {}) {
  const made = createFakeParts(options);
  return { ...made, ...made.collaborators };
}

describe("images", () => {
  it("are fetched once however many ask, and kept", async () => {
    const { images, world, host } = parts({ host: { rates: { imageMiBps: 1 } } });
    const progress: number[] = [];
    const onProgress = ({ bytesDone }: { bytesDone: number }): void => void progress.push(bytesDone);
    const [first, second] = await Promise.all([images.fetch("cirros", { onProgress }), images.fetch("cirros")]);
    expect(first).toEqual(second);
    expect(world.clock.monotonic()).toBeCloseTo(16_000);
    expect([progress[0], progress.at(-1)]).toEqual([0, 16 * MIB]);
    expect(await images.isCached("cirros")).toBe(true);
    world.partition(host.name);
    await images.fetch("cirros");
    await expect(images.fetch("debian")).rejects.toMatchObject({ code: "FAKE_UNREACHABLE", retryable: true });
  });

  it("leave nothing behind when they are not there, not what they say, too large, or no longer wanted", async () => {
    const { images, world, host } = parts({
      host: { storageOptions: { capacityBytes: 100 * MIB }, rates: { imageMiBps: 1 } },
    });
    world.images.add({ id: "bad", format: "qcow2", sizeBytes: MIB }, { corrupt: true });
    await expect(images.fetch("none")).rejects.toMatchObject({ code: "IMAGE_NOT_FOUND" });
    await expect(images.fetch("bad")).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
    await expect(images.fetch("debian")).rejects.toMatchObject({ code: "DISK_FULL", retryable: true });
    const abort = new AbortController();
    world.clock.setTimeout(() => abort.abort(), 5000);
    await expect(images.fetch("cirros", { signal: abort.signal })).rejects.toMatchObject({ code: "ABORTED" });
    expect(host.storage.usedBytes).toBe(0);
    expect(world.ledger({ caches: true })).toEqual([]);
  });

  it("go on being fetched for others when the first that asked is aborted", async () => {
    const { images, world } = parts({ host: { rates: { imageMiBps: 1 } } });
    const abort = new AbortController();
    const first = images.fetch("cirros", { signal: abort.signal });
    const second = images.fetch("cirros");
    world.clock.setTimeout(() => abort.abort(), 5000);
    await expect(first).rejects.toMatchObject({ code: "ABORTED" });
    expect((await second).id).toBe("cirros");
  });

  it("are stored, but not over a finished one, and dropped from the cache when old and unused", async () => {
    const { images, disks, world, host } = parts();
    const image = await images.fetch("cirros");
    await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: GIB, image });
    const path = await disks.temporaryPath("export");
    await disks.exportDisk(UUID, "root", path, "qcow2");
    const stored = await images.upload({ id: "mine", format: "qcow2" }, path);
    expect(stored).toMatchObject({ id: "mine", virtualSizeBytes: GIB });
    expect(world.images.get("mine")!.content).toEqual(["image:cirros"]);
    await expect(images.upload({ id: "mine", format: "qcow2" }, path)).rejects.toMatchObject({ code: "CONFLICT" });
    await expect(images.upload({ id: "other", format: "raw" }, host.storage.pathOf("none"))).rejects.toThrow();
    expect(world.images.get("other")).toBeUndefined();
    await images.fetch("mine");
    await world.clock.sleep(1000);
    expect(await images.ageCache(new Set(["cirros"]), 5000)).toEqual([]);
    expect(await images.ageCache(new Set(["cirros"]), 500)).toEqual(["mine"]);
    expect([await images.isCached("cirros"), await images.isCached("mine")]).toEqual([true, false]);
    await images.delete("mine");
    await images.delete("mine");
    await expect(images.describe("mine")).rejects.toMatchObject({ code: "IMAGE_NOT_FOUND" });
  });
});

describe("disks", () => {
  it("are made, listed, grown, parked, put back and removed", async () => {
    const { disks, host } = parts();
    await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: GIB });
    await expect(disks.create({ instanceUuid: UUID, name: "root", sizeBytes: GIB })).rejects.toMatchObject({
      code: "CONFLICT",
    });
    await expect(disks.create({ instanceUuid: UUID, name: "../x", sizeBytes: GIB })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await disks.park(UUID, "resize");
    await disks.park(UUID, "resize");
    await disks.resize(UUID, "root", 2 * GIB);
    await expect(disks.resize(UUID, "root", GIB)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(disks.resize(UUID, "none", GIB)).rejects.toMatchObject({ code: "DISK_NOT_FOUND" });
    await disks.create({ instanceUuid: UUID, name: "swap", sizeBytes: MIB });
    const [root, swap] = await disks.list(UUID);
    expect([root!.virtualSizeBytes, swap!.virtualSizeBytes]).toEqual([2 * GIB, MIB]);
    await disks.restore(UUID, "resize");
    await disks.restore(UUID, "resize");
    expect((await disks.list(UUID)).map(({ name, virtualSizeBytes }) => [name, virtualSizeBytes])).toEqual([
      ["root", GIB],
    ]);
    await disks.park(UUID, "again");
    await disks.discardParked(UUID, "again");
    expect(await disks.listInstances()).toEqual([UUID]);
    await disks.park(UUID, "last");
    expect(await disks.removeAll(UUID)).toBe(true);
    expect(await disks.removeAll(UUID)).toBe(true);
    expect([...host.storage.files]).toEqual([]);
    expect(host.storage.usedBytes).toBe(0);
  });

  it("take their whole size at once on thick storage, and what is written on thin", async () => {
    const thick = parts({ host: { storageOptions: { capacityBytes: 3 * GIB, thick: true } } });
    await thick.disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 2 * GIB });
    await expect(thick.disks.create({ instanceUuid: UUID, name: "swap", sizeBytes: 2 * GIB })).rejects.toMatchObject({
      code: "DISK_FULL",
    });
    await expect(thick.disks.resize(UUID, "root", 4 * GIB)).rejects.toMatchObject({ code: "DISK_FULL" });
    expect(await thick.disks.capacity()).toEqual({ totalBytes: 3 * GIB, usedBytes: 2 * GIB, leastAvailableBytes: GIB });
    const thin = parts({ host: { storageOptions: { capacityBytes: 3 * GIB } } });
    await thin.disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 2 * GIB });
    await thin.disks.create({ instanceUuid: UUID, name: "swap", sizeBytes: 2 * GIB });
    expect((await thin.disks.capacity()).leastAvailableBytes).toBe(-GIB);
  });

  it("of hosts with one storage see each other's tokens", async () => {
    const { world } = parts();
    const [a, b, c] = ["shared", "shared", "other"].map((storage) => {
      const host = world.addHost({ storage });
      return createFakeParts({ world, host: host.name }).collaborators.disks;
    });
    await a!.leaveToken("t");
    expect([await b!.seesToken("t"), await c!.seesToken("t")]).toEqual([true, false]);
    expect(world.ledger().map(({ kind }) => kind)).toEqual(["storageToken"]);
    await b!.removeToken("t");
    await b!.removeToken("t");
    expect(await a!.seesToken("t")).toBe(false);
  });
});

describe("volumes", () => {
  it("are connected for each instance, and let go with the last", async () => {
    const { volumes, world, host } = parts();
    const connection = world.volumes.create({ multiattach: true, sizeBytes: GIB });
    const [connector] = volumes;
    const source = await connector!.connect(connection, UUID);
    expect(await connector!.connect(connection, UUID)).toEqual(source);
    await connector!.connect(connection, "other");
    await connector!.disconnect(connection, UUID);
    await connector!.disconnect(connection, UUID);
    expect(host.volumes.size).toBe(1);
    world.volumes.extend(connection.volumeId, 2 * GIB);
    expect(await connector!.extend(connection, "other", 2 * GIB)).toBe(2 * GIB);
    await connector!.disconnect(connection, "other");
    expect(host.volumes.size).toBe(0);
  });

  it("can't be connected when they are gone or cut off, or named badly", async () => {
    const { volumes, world, host } = parts();
    const [connector] = volumes;
    const connection = world.volumes.create();
    world.partition(host.name);
    await expect(connector!.connect(connection, UUID)).rejects.toMatchObject({ code: "FAKE_UNREACHABLE" });
    world.heal(host.name);
    world.volumes.delete(connection.volumeId);
    await expect(connector!.connect(connection, UUID)).rejects.toMatchObject({
      code: "VOLUME_CONNECT_FAILED",
      retryable: false,
    });
    const invalid =
      (change: object): (() => void) =>
      () =>
        connector!.validate({ ...connection, ...change }, "spec.volume");
    expect(invalid({ volumeId: "a b" })).toThrow(expect.objectContaining({ field: "spec.volume.volumeId" }));
    expect(invalid({ data: { host: "x" } })).toThrow(expect.objectContaining({ field: "spec.volume.data.host" }));
  });
});

describe("ports", () => {
  const vif: Vif = {
    type: "bridge",
    id: "port-1",
    macAddress: "52:54:00:00:00:01",
    bridge: "br0",
    network: { id: "n" },
  };

  it("get a TAP of their own on a bridge that is there", async () => {
    const { vifs, host } = parts({ host: { bridges: ["br0"] } });
    expect(await vifs.plug(vif, UUID)).toEqual({ type: "tap", deviceName: "tapport-1", bridge: "br0", queues: 1 });
    await vifs.plug(vif, UUID);
    await expect(vifs.plug(vif, "other")).rejects.toMatchObject({ code: "VIF_PLUG_FAILED", retryable: false });
    await expect(vifs.plug({ ...vif, id: "port-2", bridge: "br9" }, UUID)).rejects.toMatchObject({
      code: "VIF_PLUG_FAILED",
    });
    await expect(vifs.plug({ ...vif, id: "port-2", deviceName: "tapport-1" }, UUID)).rejects.toMatchObject({
      code: "VIF_PLUG_FAILED",
    });
    const user: Vif = { type: "user", id: "port-3", macAddress: "52:54:00:00:00:03", network: { id: "n" } };
    expect(await vifs.plug(user, UUID)).toEqual({ type: "user" });
    await vifs.unplug(vif, "other");
    expect(host.ports.size).toBe(2);
    for (const port of [vif, user, vif]) await vifs.unplug(port, UUID);
    expect([host.ports.size, host.portByDevice.size]).toEqual([0, 0]);
  });

  it.each([
    ["id", "../x"],
    ["macAddress", "01:00:00:00:00:00"],
    ["macAddress", "52:54:00"],
    ["bridge", "br0; rm"],
    ["bridge", "a-name-that-is-too-long"],
    ["deviceName", "a\nb"],
  ])("with a bad %s (%j) are refused by name", (field, value) => {
    const { vifs } = parts();
    expect(() => vifs.validate({ ...vif, [field]: value }, "spec.vifs[0]")).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field: `spec.vifs[0].${field}` }),
    );
    expect(() => vifs.validate({ ...vif, type: "macvtap" } as unknown as Vif, "spec.vifs[0]")).toThrow(
      expect.objectContaining({ code: "NOT_SUPPORTED" }),
    );
  });
});

describe("filters", () => {
  it("go from basic to applied and never back, and refreshes can be collected", async () => {
    const { firewall, host } = parts();
    const instance = {
      uuid: UUID,
      name: "i",
      ports: [{ id: "p", macAddress: "", securityGroups: ["web"], portSecurityEnabled: false }],
    };
    await firewall.setupBasicFiltering(instance);
    await firewall.prepareInstanceFilter(instance);
    expect(await firewall.instanceFilterExists(instance)).toBe(false);
    await firewall.applyInstanceFilter(instance);
    await firewall.setupBasicFiltering(instance);
    expect(await firewall.instanceFilterExists(instance)).toBe(true);
    expect(host.filters.get(UUID)!.ports).toEqual([{ id: "p", securityGroups: ["web"], filtered: false }]);
    if (!(firewall instanceof FakeFirewallDriver)) expect.unreachable();
    firewall.filterDeferApplyOn();
    firewall.filterDeferApplyOn();
    await firewall.refreshSecurityGroupRules("web");
    await firewall.filterDeferApplyOff();
    expect(firewall.refreshes).toEqual([]);
    await firewall.refreshProviderFirewallRules();
    await firewall.filterDeferApplyOff();
    expect(firewall.refreshes).toEqual([{ what: "securityGroupRules", id: "web" }, { what: "provider" }]);
    await firewall.unfilterInstance(instance);
    await firewall.unfilterInstance(instance);
    expect(host.filters.size).toBe(0);
  });
});

describe("secrets and state", () => {
  it("are kept by the host", async () => {
    const { secrets, state, world } = parts({ clock: new VirtualClock() });
    await secrets.put("volume", Secret.of("pass"));
    expect((await secrets.get("volume"))!.reveal()).toBe("pass");
    expect(JSON.stringify(world.ledger())).not.toContain("pass");
    await secrets.delete("volume");
    await secrets.delete("volume");
    expect(await secrets.get("volume")).toBeUndefined();
    const value = { list: [1] };
    await state.put("instances/a", value);
    value.list.push(2);
    expect(await state.get("instances/a")).toEqual({ list: [1] });
    await expect(state.put("../etc", 1)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(await state.list("instances/")).toEqual(["instances/a"]);
    await state.delete("instances/a");
    expect(world.ledger()).toEqual([]);
  });
});

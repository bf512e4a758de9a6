import { describe, expect, it } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import type { GuestDisk, GuestNic } from "../../../src/driver/index.js";
import type { DiskSource } from "../../../src/storage/index.js";
import { bench } from "./parts.js";
import type { Bench } from "./parts.js";

async function volumeDisk(
  { collaborators, world, guest }: Bench,
  options: { multiattach?: boolean; name?: string } = {},
): Promise<GuestDisk & { readonly source: DiskSource }> {
  const connection = world.volumes.create({ type: "fake" });
  const source = await collaborators.volumes[0]!.connect(connection, guest.uuid);
  return {
    id: `volume-${connection.volumeId}`,
    source,
    bus: "virtio",
    deviceType: "disk",
    deviceName: options.name ?? "vdb",
    readOnly: false,
    shareable: options.multiattach ?? false,
  };
}

async function secondNic({ collaborators, guest }: Bench): Promise<GuestNic> {
  const vif = {
    type: "bridge",
    id: "port-2",
    macAddress: "52:54:00:00:00:02",
    bridge: "br0",
    network: { id: "net" },
  } as const;
  const backend = await collaborators.vifs.plug(vif, guest.uuid);
  return { id: vif.id, macAddress: vif.macAddress, model: "virtio", backend, queues: 1 };
}

describe("a disk", () => {
  it.each(["running", "shutdown"])("comes and goes while the guest is %s", async (state) => {
    const parts = await bench();
    const { guest, events } = parts;
    const disk = await volumeDisk(parts);
    if (state === "running") await guest.start();
    await guest.attachDisk(disk);
    expect((await guest.definition()).disks.map(({ id }) => id)).toEqual(["root", disk.id]);
    expect(await guest.detachDisk(disk.id, { timeoutMs: 1000 })).toBe("detached");
    expect((await guest.definition()).disks.map(({ id }) => id)).toEqual(["root"]);
    expect(await guest.detachDisk(disk.id, { timeoutMs: 1000 })).toBe("absent");
    const released = events.filter(({ type }) => type === "deviceDetached");
    expect(released).toEqual(state === "running" ? [expect.objectContaining({ device: disk.id })] : []);
  });

  it("is refused when its id or name is taken, it is not there, its bus takes none now, or no slot is left", async () => {
    const parts = await bench({ host: { slots: { disks: 2 } } });
    const { guest } = parts;
    const disk = await volumeDisk(parts);
    await guest.start();
    await expect(guest.attachDisk({ ...disk, id: "root" })).rejects.toMatchObject({ code: "CONFLICT" });
    await expect(guest.attachDisk({ ...disk, deviceName: "vda" })).rejects.toMatchObject({ code: "CONFLICT" });
    const missing: GuestDisk["source"] = { type: "block", path: "/dev/fake/nothing", format: "raw" };
    await expect(guest.attachDisk({ ...disk, source: missing })).rejects.toMatchObject({
      code: "DEVICE_ATTACH_FAILED",
    });
    await expect(guest.attachDisk({ ...disk, bus: "ide" })).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED" });
    expect((await guest.definition()).disks).toHaveLength(1);
    await guest.attachDisk(disk);
    const another = await volumeDisk(parts, { name: "vdc" });
    await expect(guest.attachDisk(another)).rejects.toMatchObject({ code: "NO_FREE_SLOT" });
    await guest.suspend!.save();
    await expect(guest.detachDisk(disk.id, { timeoutMs: 1 })).rejects.toMatchObject({ code: "INVALID_STATE" });
  });

  it("stays when the guest refuses to let go, or does not answer in time; a late answer is heard", async () => {
    const clock = new VirtualClock();
    const parts = await bench({ clock });
    const { guest, world, events } = parts;
    const disk = await volumeDisk(parts);
    await guest.start();
    await guest.attachDisk(disk);
    world.setBehaviour(guest.uuid, { detach: "refuse" });
    expect(await guest.detachDisk(disk.id, { timeoutMs: 1000 })).toBe("refused");
    expect(events.at(-1)).toMatchObject({ type: "deviceDetachFailed", device: disk.id });
    world.setBehaviour(guest.uuid, { detach: "release", detachMs: 5000 });
    const first = guest.detachDisk(disk.id, { timeoutMs: 1000 });
    await clock.tick(1000);
    expect(await first).toBe("pending");
    expect((await guest.definition()).disks).toHaveLength(2);
    const second = guest.detachDisk(disk.id, { timeoutMs: 60_000 });
    await clock.tick(4000);
    expect(await second).toBe("detached");
    expect(events.filter(({ type }) => type === "deviceDetached")).toHaveLength(1);
    expect(clock.pending).toBe(0);
  });

  it("is let go when the guest ends while somebody waits for it, and kept when nobody does", async () => {
    const clock = new VirtualClock();
    const parts = await bench({ clock });
    const { guest, world } = parts;
    const disk = await volumeDisk(parts);
    world.setBehaviour(guest.uuid, { detach: "ignore" });
    await guest.attachDisk(disk);
    await guest.start();
    const unheard = guest.detachDisk(disk.id, { timeoutMs: 10 });
    await clock.tick(10);
    expect(await unheard).toBe("pending");
    await guest.kill();
    expect((await guest.definition()).disks).toHaveLength(2);
    await guest.start();
    const waiting = guest.detachDisk(disk.id, { timeoutMs: 1000 });
    await clock.settle();
    await guest.kill();
    expect(await waiting).toBe("detached");
    expect((await guest.definition()).disks).toHaveLength(1);
  });

  it("is asked for again when the guest is up, if it was booting", async () => {
    const clock = new VirtualClock();
    const parts = await bench({ clock });
    const { guest, world } = parts;
    world.setBehaviour(guest.uuid, { bootMs: 500 });
    const disk = await volumeDisk(parts);
    await guest.attachDisk(disk);
    await guest.start();
    const outcome = guest.detachDisk(disk.id, { timeoutMs: 1000 });
    await clock.tick(499);
    expect((await guest.definition()).disks).toHaveLength(2);
    await clock.tick(1);
    expect(await outcome).toBe("detached");
  });

  it("grows, and does not shrink", async () => {
    const parts = await bench();
    await parts.guest.start();
    await parts.guest.resizeDisk!("root", 2 * 1024 ** 3);
    await expect(parts.guest.resizeDisk!("root", 1024 ** 3)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(parts.guest.resizeDisk!("swap", 1)).rejects.toMatchObject({ code: "DISK_NOT_FOUND" });
    expect((await parts.collaborators.disks.list(parts.guest.uuid))[0]!.virtualSizeBytes).toBe(2 * 1024 ** 3);
  });
});

describe("a NIC", () => {
  it("comes and goes, and no MAC address comes twice", async () => {
    const parts = await bench();
    const { guest } = parts;
    const nic = await secondNic(parts);
    await guest.start();
    await expect(guest.attachNic({ ...nic, macAddress: "52:54:00:00:00:01" })).rejects.toMatchObject({
      code: "CONFLICT",
    });
    await guest.attachNic(nic);
    expect((await guest.definition()).nics).toHaveLength(2);
    expect(await guest.detachNic("port-2", { timeoutMs: 1000 })).toBe("detached");
    await parts.collaborators.vifs.unplug(
      { type: "user", id: "port-2", macAddress: "", network: { id: "" } },
      guest.uuid,
    );
    await expect(guest.attachNic(nic)).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED", device: "port-2" });
  });
});

describe("the content of a disk", () => {
  it("goes over to a mirror, and stays with the old one when the copy is aborted", async () => {
    const parts = await bench({ host: { rates: { diskMiBps: 100 } } });
    const { guest, world } = parts;
    const disk = await volumeDisk(parts);
    const target = await volumeDisk(parts, { name: "vdc" });
    await guest.attachDisk(disk);
    await guest.start();
    world.guest(guest.uuid).write(disk.id, "hello");
    const abort = new AbortController();
    world.clock.setTimeout(() => abort.abort(), 5000);
    const aborted = guest.mirrorDisk!(disk.id, target.source, { signal: abort.signal });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    expect((await guest.definition()).disks[1]!.source).toEqual(disk.source);
    const start = world.clock.now();
    await guest.mirrorDisk!(disk.id, target.source);
    expect(world.clock.now() - start).toBeCloseTo(10_240);
    expect((await guest.definition()).disks[1]!.source).toEqual(target.source);
    expect(world.guest(guest.uuid).read(disk.id)).toEqual(["hello"]);
  });

  it("is in a copy of a running guest's disk, and no file is left of an aborted one", async () => {
    const parts = await bench();
    const { guest, world, host, collaborators } = parts;
    await guest.start();
    world.guest(guest.uuid).write("root", "data");
    const path = await collaborators.disks.temporaryPath("copy");
    await guest.copyDisk!("root", path, "qcow2");
    expect(host.storage.get(path)!.content).toEqual(["image:cirros", "data"]);
    expect(world.ledger().filter(({ kind }) => kind === "temporaryFile")).toHaveLength(1);
    await collaborators.disks.removeTemporary(path);
    const abort = new AbortController();
    abort.abort();
    await expect(guest.copyDisk!("root", path, "raw", { signal: abort.signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
    expect(host.storage.get(path)).toBeUndefined();
  });

  it("is written to an overlay after a snapshot, and comes back with a commit", async () => {
    const parts = await bench();
    const { guest, world, collaborators } = parts;
    const connection = world.volumes.create({ type: "fake-file", format: "qcow2" });
    const source = await collaborators.volumes[1]!.connect(connection, guest.uuid);
    const disk = { ...(await volumeDisk(parts)), id: "volume-file", source };
    await guest.attachDisk(disk);
    await guest.start();
    const basePath = (source as { path: string }).path;
    const overlay = { type: "file", path: world.volumes.createOverlay("overlay", basePath), format: "qcow2" } as const;
    const stranger = {
      type: "file",
      path: world.volumes.createOverlay("stranger", overlay.path),
      format: "qcow2",
    } as const;
    await expect(guest.snapshotDisk!(disk.id, stranger)).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED" });
    await guest.snapshotDisk!(disk.id, overlay);
    world.guest(guest.uuid).write(disk.id, "after");
    expect(world.volumes.file(connection.volumeId)!.content).toEqual([]);
    await guest.commitDisk!(disk.id, source);
    expect(world.volumes.file(connection.volumeId)!.content).toEqual(["after"]);
    expect((await guest.definition()).disks[1]!.source).toEqual(source);
    await expect(guest.commitDisk!(disk.id, overlay)).rejects.toMatchObject({ code: "CONFLICT" });
  });
});

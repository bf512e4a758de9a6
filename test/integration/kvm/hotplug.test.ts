import { readdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { KvmHypervisor } from "../../../src/kvm/index.js";
import { QmpClient } from "../../../src/qmp/index.js";
import { createBridge, requirePackages, waitFor } from "../../lab/index.js";
import { KvmLab, disk, inGuest, nic, waitForConsole, waitReady } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;

let lab: KvmLab;
beforeAll(async () => {
  requirePackages("qemu-system-x86_64");
  lab = await KvmLab.open({ hotplugPorts: 3, timeouts: { detachResendMs: 6_000 } });
});
afterAll(() => lab?.[Symbol.asyncDispose]());

const detach = { timeoutMs: 30_000 } as const;

/** What QEMU has of devices, block nodes and network back ends. */
async function inventory(lab: KvmLab, uuid: string): Promise<string[]> {
  await using monitor = await QmpClient.open({ path: lab.file(uuid, "tools.sock") });
  const [devices, nodes] = await Promise.all([
    monitor.execute("qom-list", { path: "/machine/peripheral" }),
    monitor.execute("query-named-block-nodes", { flat: true }),
  ]);
  const names = [...devices.map(({ name }) => name), ...nodes.map((node) => String(node["node-name"]))];
  return names.filter((name) => /^(disk|nic)\d/.test(name)).sort();
}

async function definitionOf(guest: Guest): Promise<{ readonly disks: string[]; readonly nics: string[] }> {
  const { disks, nics } = await guest.definition();
  return { disks: disks.map(({ id }) => id), nics: nics.map(({ id }) => id) };
}

describe.each(["q35", "pc"] as const)("a running Linux guest on %s", (machine) => {
  let guest: Guest;
  beforeAll(async () => {
    guest = await lab.linux({ machine });
    await guest.start();
  });
  afterAll(() => guest?.kill());

  it("lets go of a disk that it was asked for before it could hear it", { timeout: 180_000 }, async () => {
    await guest.attachDisk(disk("early", "vdb", await lab.image("early.img")));
    expect(await guest.detachDisk("early", { timeoutMs: 120_000 })).toBe("detached");
    expect(await inventory(lab, guest.uuid)).toEqual([]);
    await waitReady(guest);
  });

  it("takes a disk and lets go of it", async () => {
    const data = disk("volume-1", "vdb", await lab.image("one.img"), { serial: "one" });
    await guest.attachDisk(data);
    await waitFor(async () => (await inGuest(guest, "cat /sys/block/vd*/serial 2>/dev/null || true")) === "one", {
      timeoutMs: 20_000,
      what: "the disk",
    });
    expect((await guest.definition()).disks).toEqual([data]);
    await expect(guest.attachDisk(data)).rejects.toMatchObject({ code: "CONFLICT", device: "volume-1" });
    await expect(guest.attachDisk({ ...data, id: "other" })).rejects.toMatchObject({ code: "CONFLICT" });
    expect(await guest.detachDisk("volume-1", detach)).toBe("detached");
    expect(await guest.detachDisk("volume-1", detach)).toBe("absent");
    expect(await inGuest(guest, "ls /sys/block")).toBe("");
    expect(await inventory(lab, guest.uuid)).toEqual([]);
    const told = lab.events.filter(
      (event) => event.type === "deviceDetached" && event.uuid === guest.uuid && event.device === "volume-1",
    );
    expect(told).toHaveLength(1);
  });

  it("takes SCSI disks, the first with a controller", async () => {
    await guest.attachDisk(disk("s1", "sda", await lab.image("s1.img"), { bus: "scsi", serial: "s1" }));
    await guest.attachDisk(disk("s2", "sdb", await lab.image("s2.img"), { bus: "scsi", serial: "s2" }));
    await waitFor(async () => (await inGuest(guest, "echo $(ls /sys/block)")) === "sda sdb", {
      timeoutMs: 30_000,
      what: "two SCSI disks",
    });
    expect(await guest.detachDisk("s1", detach)).toBe("detached");
    await guest.attachDisk(disk("s3", "sda", await lab.image("s3.img"), { bus: "scsi" }));
    for (const id of ["s2", "s3"]) expect(await guest.detachDisk(id, detach)).toBe("detached");
  });

  it("takes a NIC and lets go of it", async () => {
    await guest.attachNic(nic("port-1", 1));
    await waitFor(
      async () => (await inGuest(guest, "cat /sys/class/net/eth*/address || true")) === "52:54:00:00:00:01",
      { timeoutMs: 20_000, what: "the NIC" },
    );
    expect(await definitionOf(guest)).toEqual({ disks: [], nics: ["port-1"] });
    expect(await guest.detachNic("port-1", detach)).toBe("detached");
    expect(await guest.detachNic("port-1", detach)).toBe("absent");
    expect(await inventory(lab, guest.uuid)).toEqual([]);
  });

  it("has nothing of a device that QEMU refuses", async () => {
    await expect(guest.attachDisk(disk("missing", "vdx", "/nonexistent/disk"))).rejects.toMatchObject({
      code: "DEVICE_ATTACH_FAILED",
      device: "missing",
      instance: { uuid: guest.uuid },
    });
    await expect(
      guest.attachNic(nic("bad", 9, { backend: { type: "user", cidr: "255.255.255.255/32" } })),
    ).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED" });
    await expect(
      guest.attachDisk(disk("ide", "hda", await lab.image("ide.img"), { bus: "ide" })),
    ).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
    await expect(guest.attachNic({ ...nic("x", 1), model: "virtio,evil" } as never)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "nic.model",
    });
    const controller = new AbortController();
    controller.abort();
    await expect(guest.attachNic(nic("late", 3), { signal: controller.signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
    expect(await inventory(lab, guest.uuid)).toEqual([]);
    expect(await definitionOf(guest)).toEqual({ disks: [], nics: [] });
  });
});

describe("a guest that does not let go", () => {
  it("keeps its device until it does, and the answer is that it is pending", async () => {
    const guest = await lab.define();
    await guest.start();
    await waitForConsole(guest, "HV-BOOT");
    await guest.attachNic(nic("port", 1));
    // Nobody in this guest answers the request.
    expect(await guest.detachNic("port", { timeoutMs: 200 })).toBe("pending");
    expect(await definitionOf(guest)).toMatchObject({ nics: ["port"] });
    expect(await inventory(lab, guest.uuid)).toContain("nic1");
    const controller = new AbortController();
    const waiting = guest.detachNic("port", { timeoutMs: 60_000, signal: controller.signal });
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
    // A reset completes what is pending, whoever waits or not.
    const going = guest.detachNic("port", { timeoutMs: 30_000 });
    await guest.reset();
    expect(await going).toBe("detached");
    await lab.event((event) => event.type === "deviceDetached" && event.uuid === guest.uuid && event.device === "port");
    expect(await definitionOf(guest)).toMatchObject({ nics: [] });
    expect(await inventory(lab, guest.uuid)).not.toContain("nic1");
    await guest.kill();
  });

  it("has let go when it ends", async () => {
    const guest = await lab.define();
    await guest.start();
    await guest.attachNic(nic("port", 1));
    const going = guest.detachNic("port", { timeoutMs: 60_000 });
    await waitFor(async () => (await guest.detachNic("port", { timeoutMs: 1 })) === "pending");
    await guest.kill();
    expect(await going).toBe("detached");
    expect(await definitionOf(guest)).toMatchObject({ nics: [] });
  });

  it("finishes while no driver watches, and the next driver sees it", async () => {
    const guest = await lab.define();
    await guest.start();
    await waitForConsole(guest, "HV-BOOT");
    await guest.attachDisk(disk("data", "vdb", await lab.image("watch.img")));
    expect(await guest.detachDisk("data", { timeoutMs: 100 })).toBe("pending");
    await lab.hypervisor.close();
    await using monitor = await QmpClient.open({ path: lab.file(guest.uuid, "tools.sock") });
    const gone = monitor.waitFor("DEVICE_DELETED", (event) => event.data.device === "disk1");
    await monitor.execute("system_reset");
    await gone;
    await monitor.close();
    await lab.reopen();
    const again = (await lab.hypervisor.find(guest.uuid)) as Guest;
    await waitFor(async () => (await definitionOf(again)).disks.length === 1);
    expect(await inventory(lab, guest.uuid)).toEqual(["disk0", "disk0-format", "disk0-storage"]);
    await again.kill();
  });
});

describe("slots", () => {
  it("run out with a typed error, and come back", async () => {
    const guest = await lab.define();
    await guest.start({ paused: true });
    for (const last of [1, 2, 3]) await guest.attachNic(nic(`port-${last}`, last));
    await expect(guest.attachNic(nic("port-4", 4))).rejects.toMatchObject({ code: "NO_FREE_SLOT" });
    expect(await definitionOf(guest)).toMatchObject({ nics: ["port-1", "port-2", "port-3"] });
    await guest.kill();
    // Started anew it has as many free ones again.
    await guest.start({ paused: true });
    await guest.attachNic(nic("port-4", 4));
    await guest.kill();
    expect(await guest.detachNic("port-1", detach)).toBe("detached");
    await guest.attachNic(nic("port-5", 5));
    expect(await definitionOf(guest)).toMatchObject({ nics: ["port-2", "port-3", "port-4", "port-5"] });
  });
});

describe.runIf(process.getuid?.() === 0)("a guest on a bridge", () => {
  it("has TAPs by descriptor, from its start and plugged while it runs, and none is left open", async () => {
    requirePackages("dnsmasq", "ip");
    await using bridge = await createBridge();
    const [first, second] = [await bridge.addTap(), await bridge.addTap()];
    const tap = (deviceName: string) =>
      ({ backend: { type: "tap", deviceName, bridge: bridge.name, queues: 1 } }) as const;
    const guest = await lab.linux({ nics: [nic("a", 0xa1, tap(first))] });
    await guest.start();
    await waitReady(guest);
    const address = (name: string): Promise<string> =>
      inGuest(guest, `ip -4 -o addr show dev ${name} | awk '{print $4}'`);
    await waitFor(async () => (await address("eth0")).startsWith("10.77.0."), {
      timeoutMs: 30_000,
      what: "an address by DHCP",
    });
    const counters = await guest.interfaceStatistics("a");
    expect(counters).toMatchObject({ id: "a", macAddress: "52:54:00:00:00:a1", txErrors: 0n });
    expect(counters.txPackets).toBeGreaterThan(0n);
    expect((await guest.statistics()).interfaces).toHaveLength(1);

    await guest.attachNic(nic("b", 0xb2, tap(second)));
    await waitFor(async () => (await address("eth1")).startsWith("10.77.0."), {
      timeoutMs: 30_000,
      what: "a second address",
    });
    expect((await bridge.leases()).map(({ mac }) => mac).sort()).toEqual(["52:54:00:00:00:a1", "52:54:00:00:00:b2"]);
    expect(await guest.detachNic("b", detach)).toBe("detached");
    await guest.attachNic(nic("b", 0xb2, tap(second)));
    expect(await guest.detachNic("b", detach)).toBe("detached");

    // This process keeps no TAP open, or the guest's end would not be its end.
    const open = await readdir("/proc/self/fd");
    const { readlink } = await import("node:fs/promises");
    const links = await Promise.all(open.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")));
    expect(links.filter((link) => link === "/dev/net/tun")).toEqual([]);
    await guest.kill();
  });

  it("has a NIC with several queues", async () => {
    await using bridge = await createBridge({ dhcp: false });
    const { run } = await import("../../lab/index.js");
    const deviceName = `${bridge.name.slice(0, 10)}mq`;
    await run(["ip", "tuntap", "add", "dev", deviceName, "mode", "tap", "vnet_hdr", "multi_queue"]);
    try {
      const backend = { type: "tap", deviceName, bridge: bridge.name, queues: 2 } as const;
      const guest = await lab.linux({ vcpus: 2, memoryMiB: 192, nics: [nic("a", 1, { queues: 2, backend })] });
      await guest.start();
      await waitReady(guest);
      expect(await inGuest(guest, "echo $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l)")).toBe("2");
      await guest.kill();
    } finally {
      await run(["ip", "link", "del", "dev", deviceName]);
    }
  });

  it("is not started on a TAP that is not there, and nothing runs", async () => {
    const backend = { type: "tap", deviceName: "hv-no-such-tap", bridge: "br", queues: 1 } as const;
    const guest = await lab.define({ nics: [nic("a", 1, { backend })] });
    await expect(guest.start()).rejects.toMatchObject({ code: "TAP_FAILED", device: "hv-no-such-tap" });
    expect(await lab.pid(guest.uuid)).toBeUndefined();
    await expect(readdir("/sys/class/net")).resolves.not.toContain("hv-no-such-tap");
    expect(await guest.detachNic("a", detach)).toBe("detached");
    await guest.start({ paused: true });
    await expect(guest.attachNic(nic("a", 1, { backend }))).rejects.toMatchObject({ code: "TAP_FAILED" });
    expect(await definitionOf(guest)).toMatchObject({ nics: [] });
    await guest.kill();
  });
});

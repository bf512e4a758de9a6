/** Devices that guests on a real libvirtd are given and let go of: at once, late, not at all, and by others than us. */
import { open } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LibvirtHypervisor } from "../../../../src/libvirt/driver/index.js";
import { waitFor } from "../../../lab/index.js";
import { HypervisorLab, disk, nic } from "./hypervisor-lab.js";

type Guest = Awaited<ReturnType<LibvirtHypervisor["define"]>>;

let lab: HypervisorLab;
beforeAll(async () => {
  lab = await HypervisorLab.open({ domainDefaults: { spareRootPorts: 3 } });
}, 180_000);
afterAll(() => lab?.[Symbol.asyncDispose](), 120_000);

const detach = { timeoutMs: 60_000 } as const;
const T = { timeout: 240_000 };

async function ids(guest: Guest): Promise<string[]> {
  const { disks, nics, hardware } = await guest.definition();
  return [...disks, ...nics, ...(hardware?.devices ?? [])].map(({ id }) => id);
}

function detached(guest: Guest, device: string): unknown[] {
  return lab.events.filter(
    (event) => event.type === "deviceDetached" && event.uuid === guest.uuid && event.device === device,
  );
}

async function booted(guest: Guest): Promise<void> {
  await guest.start();
  await lab.waitForConsole(guest.uuid, "HV-READY");
}

describe("a running Linux guest", () => {
  let guest: Guest;
  beforeAll(async () => {
    guest = await lab.linux();
    await booted(guest);
    await waitFor(
      () =>
        lab.inGuest(guest.uuid, "true").then(
          () => true,
          () => false,
        ),
      { timeoutMs: 90_000 },
    );
  }, 240_000);
  afterAll(() => guest?.kill());

  it("takes a disk and a NIC and lets go of them", T, async () => {
    const data = disk("volume-1", "vdb", await lab.image("one.img"), { serial: "one" });
    await guest.attachDisk(data);
    await guest.attachNic(nic("port-1", 1));
    await waitFor(async () => (await lab.inGuest(guest.uuid, "cat /sys/block/vd*/serial")) === "one", {
      timeoutMs: 60_000,
      what: "the disk",
    });
    expect((await guest.definition()).disks).toEqual([data]);
    for (const where of ["live", "configured"] as const)
      expect(await lab.devices(guest.uuid, where)).toEqual(["ua-disk-volume-1", "ua-nic-port-1"]);
    await expect(guest.attachDisk(data)).rejects.toMatchObject({ code: "CONFLICT", device: "volume-1" });
    await expect(guest.attachDisk({ ...data, id: "other" })).rejects.toMatchObject({ code: "CONFLICT" });
    expect(await guest.detachDisk("volume-1", detach)).toBe("detached");
    expect(await guest.detachDisk("volume-1", detach)).toBe("absent");
    expect(await guest.detachNic("port-1", detach)).toBe("detached");
    for (const where of ["live", "configured"] as const) expect(await lab.devices(guest.uuid, where)).toEqual([]);
    expect(detached(guest, "volume-1")).toHaveLength(1);
    expect(detached(guest, "port-1")).toHaveLength(1);
  });

  it("has nothing of a device that libvirt refuses, and no place for more than it has", T, async () => {
    await expect(guest.attachDisk(disk("missing", "vdx", "/nonexistent/disk"))).rejects.toMatchObject({
      code: "DEVICE_ATTACH_FAILED",
      device: "missing",
      instance: { uuid: guest.uuid },
    });
    await expect(
      guest.attachDisk(disk("sata", "sda", await lab.image("sata.img"), { bus: "sata" })),
    ).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
    const controller = new AbortController();
    controller.abort();
    await expect(guest.attachNic(nic("late", 3), { signal: controller.signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
    const given: string[] = [];
    const more = async (): Promise<unknown> => {
      for (let number = 10; number < 20; number += 1) {
        await guest.attachNic(nic(`port-${number}`, number));
        given.push(`port-${number}`);
      }
      return undefined;
    };
    await expect(more()).rejects.toMatchObject({ code: "NO_FREE_SLOT" });
    // A controller for the first SCSI disk takes one, too.
    const scsi = disk("scsi", "sda", await lab.image("scsi.img"), { bus: "scsi" });
    await expect(guest.attachDisk(scsi)).rejects.toMatchObject({ code: "NO_FREE_SLOT", device: "scsi" });
    expect(await ids(guest)).toEqual(given);
    for (const id of given) expect(await guest.detachNic(id, detach)).toBe("detached");
    expect(await lab.devices(guest.uuid, "configured")).toEqual([]);
  });

  it("takes SCSI disks, the first with a controller, and USB devices", T, async () => {
    await guest.attachDisk(disk("s1", "sda", await lab.image("s1.img"), { bus: "scsi", serial: "s1" }));
    await guest.attachDisk(disk("s2", "sdb", await lab.image("s2.img"), { bus: "scsi", serial: "s2" }));
    await waitFor(async () => (await lab.inGuest(guest.uuid, "echo $(ls /sys/block)")) === "sda sdb", {
      timeoutMs: 60_000,
      what: "two SCSI disks",
    });
    const { devices } = await lab.domain(guest.uuid);
    expect(devices?.controller?.filter(({ type }) => type === "scsi")).toMatchObject([{ model: "virtio-scsi" }]);
    for (const id of ["s1", "s2"]) expect(await guest.detachDisk(id, detach)).toBe("detached");
    await guest.attachDevice({ type: "usbInput", id: "mouse", model: "mouse" });
    expect(await ids(guest)).toEqual(["mouse"]);
    expect(await lab.devices(guest.uuid)).toEqual(["ua-device-mouse"]);
    expect(await guest.detachDevice("mouse", detach)).toBe("detached");
    expect(await lab.devices(guest.uuid, "configured")).toEqual([]);
  });

  it("is told of devices that somebody else takes", T, async () => {
    await guest.attachDisk(disk("taken", "vdc", await lab.image("taken.img")));
    const domain = await (await lab.client()).lookupDomainByUuid(guest.uuid);
    await domain.detachDeviceAlias("ua-disk-taken", { flags: ["live"] });
    await lab.event((event) => event.type === "deviceDetached" && event.device === "taken");
    expect(await ids(guest)).toEqual([]);
    expect(await lab.devices(guest.uuid, "configured")).toEqual([]);
  });

  it("lets go once it runs again, whether the driver watches or not", T, async () => {
    for (const id of ["watched", "unwatched"]) {
      await guest.attachDisk(disk(id, "vdd", await lab.image(`${id}.img`)));
      await guest.pause();
      expect(await guest.detachDisk(id, { timeoutMs: 300 })).toBe("pending");
      expect(await ids(guest)).toEqual([id]);
      expect(await lab.devices(guest.uuid, "configured")).toEqual([]);
      const waiting = id === "watched" ? guest.detachDisk(id, detach) : undefined;
      if (waiting === undefined) await lab.hypervisor.close();
      const domain = await (await lab.client()).lookupDomainByUuid(guest.uuid);
      await domain.resume();
      if (waiting !== undefined) expect(await waiting).toBe("detached");
      else {
        await waitFor(async () => (await lab.devices(guest.uuid)).length === 0, { timeoutMs: 60_000 });
        await lab.reopen();
        guest = (await lab.hypervisor.find(guest.uuid)) as Guest;
      }
      expect(await ids(guest)).toEqual([]);
    }
  });
});

describe("a guest that does not let go", () => {
  it("keeps its device until it does, and the answer is that it is pending", T, async () => {
    const guest = await lab.define();
    await guest.start();
    await lab.waitForConsole(guest.uuid, "HV-BOOT");
    await guest.attachNic(nic("port", 1));
    // Nobody in this guest answers the request.
    expect(await guest.detachNic("port", { timeoutMs: 200 })).toBe("pending");
    expect(await ids(guest)).toEqual(["root", "port"]);
    expect(await lab.devices(guest.uuid)).toEqual(["ua-disk-root", "ua-nic-port"]);
    expect(await lab.devices(guest.uuid, "configured")).toEqual(["ua-disk-root"]);
    const controller = new AbortController();
    const waiting = guest.detachNic("port", { timeoutMs: 60_000, signal: controller.signal });
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
    const going = guest.detachNic("port", { timeoutMs: 60_000 });
    // A reset completes what is pending, whoever waits or not.
    await guest.reset();
    expect(await going).toBe("detached");
    expect(await ids(guest)).toEqual(["root"]);
    expect(detached(guest, "port")).toHaveLength(1);
    await guest.kill();
  });

  it("has let go when it ends, and does not start with it again", T, async () => {
    const guest = await lab.define();
    await guest.start();
    await guest.attachNic(nic("one", 1));
    await guest.attachDisk(disk("two", "vdb", await lab.image("two.img")));
    const going = guest.detachNic("one", { timeoutMs: 60_000 });
    await waitFor(async () => (await guest.detachNic("one", { timeoutMs: 1 })) === "pending");
    expect(await guest.detachDisk("two", { timeoutMs: 1 })).toBe("pending");
    await guest.kill();
    expect(await going).toBe("detached");
    await guest.start();
    expect(await ids(guest)).toEqual(["root"]);
    expect(await lab.devices(guest.uuid)).toEqual(["ua-disk-root"]);
    await guest.kill();
  });

  it("is waited for over the death of the daemon, and of the driver", T, async () => {
    const guest = await lab.define();
    await guest.start();
    await lab.waitForConsole(guest.uuid, "HV-BOOT");
    await guest.attachNic(nic("port", 1));
    await guest.attachDisk(disk("data", "vdb", await lab.image("data.img")));
    for (const ask of [
      () => guest.detachNic("port", { timeoutMs: 1 }),
      () => guest.detachDisk("data", { timeoutMs: 1 }),
    ])
      expect(await ask()).toBe("pending");
    // libvirt's own wait for the guest is over once it answers others.
    const domain = await (await lab.client()).lookupDomainByUuid(guest.uuid);
    await domain.setMetadata(2, { metadata: "<x/>", key: "x", uri: "urn:x", flags: ["live"], deadlineMs: 60_000 });
    const terminal = (await lab.domain(guest.uuid)).devices?.serial?.[0]?.source?.[0]?.path ?? "";
    const going = guest.detachNic("port", { timeoutMs: 120_000 }).catch((error: unknown) => error);
    await lab.daemon.kill("SIGKILL");
    // Ctrl-R resets the guest, which lets go of all: while nobody is there to hear it.
    await using keyboard = await open(terminal, "r+");
    await keyboard.write("\u0012");
    await waitFor(async () => ((await lab.console(guest.uuid)).match(/HV-BOOT/g) ?? []).length > 1, {
      timeoutMs: 60_000,
      what: "a guest that boots again",
    });
    await lab.daemon.start();
    const outcome = await going;
    if (outcome !== "detached") expect(outcome).toMatchObject({ code: "HYPERVISOR_UNAVAILABLE" });
    await waitFor(async () => (await ids(guest)).join() === "root", { timeoutMs: 60_000, what: "a guest without" });
    await lab.reopen();
    const found = (await lab.hypervisor.find(guest.uuid)) as Guest;
    expect(await ids(found)).toEqual(["root"]);
    for (const where of ["live", "configured"] as const)
      expect(await lab.devices(guest.uuid, where)).toEqual(["ua-disk-root"]);
    await found.kill();
  });
});

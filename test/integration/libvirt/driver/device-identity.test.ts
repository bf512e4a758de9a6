/** Devices of guests on a real libvirtd keep being the same: over other releases of the driver, and over being defined anew. */
import { readdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LibvirtHypervisor } from "../../../../src/libvirt/driver/index.js";
import { formatDomainXml } from "../../../../src/libvirt/index.js";
import { HypervisorLab, disk, nic } from "./hypervisor-lab.js";

type Guest = Awaited<ReturnType<LibvirtHypervisor["define"]>>;

let lab: HypervisorLab;
beforeAll(async () => {
  lab = await HypervisorLab.open({ domainDefaults: { spareRootPorts: 3 } });
}, 180_000);
afterAll(() => lab?.[Symbol.asyncDispose](), 120_000);

const T = { timeout: 180_000 };
const detach = { timeoutMs: 1 } as const;

async function places(guest: Guest, where: "live" | "configured" = "live"): Promise<Record<string, string>> {
  const { devices = {} } = await lab.domain(guest.uuid, where);
  const elements = [...(devices.disk ?? []), ...(devices.interface ?? []), ...(devices.input ?? [])];
  return Object.fromEntries(
    elements.flatMap(({ alias, address }) => {
      if (alias?.name === undefined || address === undefined) return [];
      const { type, bus, slot, unit, port } = address;
      return [
        [
          alias.name.replace(/^ua-/, ""),
          `${type} ${[bus, slot, unit, port].filter((part) => part !== undefined).join(":")}`,
        ],
      ];
    }),
  );
}

describe("a guest that is defined anew", () => {
  it("has its devices where they were, though others have come and gone", T, async () => {
    const one = await lab.define({ nics: [nic("a", 1), nic("b", 2)], vcpus: 1, hardware: { cpu: { maxVcpus: 2 } } });
    const before = await places(one, "configured");
    expect(await one.detachNic("a", detach)).toBe("detached");
    await one.attachDisk(disk("s1", "sda", await lab.image("s1.img"), { bus: "scsi" }));
    await one.setVcpus(2);
    await one.attachNic(nic("c", 3));
    const { a: _, ...kept } = before;
    delete (kept as Record<string, string | undefined>)["nic-a"];
    expect(await places(one, "configured")).toMatchObject(kept);
    const definition = await one.definition();
    const again = await lab.hypervisor.redefine({ ...definition, nics: [...definition.nics, nic("d", 4)] });
    const configured = await places(again, "configured");
    expect(configured).toMatchObject(kept);
    expect(new Set(Object.values(configured)).size).toBe(Object.keys(configured).length);
    await again.start({ paused: true });
    expect(await places(again)).toEqual(configured);
    await again.kill();
  });
});

describe("a guest of a release that gave its devices no names, other places and other defaults", () => {
  it("is worked on all the same", T, async () => {
    const files = [await lab.image("old-1.img"), await lab.image("old-2.img"), await lab.image("old-3.img")] as const;
    const guest = await lab.define({
      disks: [
        disk("root", "vda", files[0]),
        disk("volume-1", "vdb", files[1], { serial: "volume-1" }),
        disk("volume-2", "sda", files[2], { bus: "scsi", serial: "volume-2" }),
        {
          ...disk("drive", "sdz", "/", { bus: "sata", deviceType: "cdrom", readOnly: true }),
          source: undefined as never,
        },
      ].map(({ source, ...rest }) => (source === undefined ? rest : { ...rest, source })),
      nics: [nic("port", 1)],
      hardware: { devices: [{ type: "usbInput", id: "mouse", model: "mouse" }] },
    });
    const client = await lab.client();
    const domain = await client.lookupDomainByUuid(guest.uuid);
    const old = await lab.domain(guest.uuid, "configured");
    const { devices = {} } = old;
    for (const list of [devices.disk, devices.interface, devices.input])
      for (const element of list ?? []) delete (element as { alias?: unknown }).alias;
    for (const { address, driver, target } of devices.disk ?? []) {
      if (target?.bus === "scsi" && address !== undefined) Object.assign(address, { unit: "1" });
      if (driver !== undefined) Object.assign(driver, { cache: "writeback", error_policy: "report" });
    }
    await domain.undefineFlags({ flags: ["nvram"] });
    await client.defineDomainXmlFlags(formatDomainXml(old));
    await lab.reopen();
    const found = (await lab.hypervisor.find(guest.uuid)) as Guest;
    const configured = await lab.domain(guest.uuid, "configured");
    expect(configured.devices?.disk?.flatMap(({ alias }) => alias?.name ?? [])).toEqual([]);
    await found.start({ paused: true });
    // The place that its name stands for is the older one's.
    await found.attachDisk(disk("volume-3", "sdb", await lab.image("new.img"), { bus: "scsi", serial: "volume-3" }));
    const units = async (): Promise<unknown> =>
      Object.fromEntries(
        ((await lab.domain(guest.uuid)).devices?.disk ?? []).flatMap(({ serial, target, address }) =>
          target?.bus === "scsi" ? [[serial, address?.unit]] : [],
        ),
      );
    expect(await units()).toEqual({ "volume-2": "1", "volume-3": "2" });
    await found.limitDisk("root", { totalBytesPerSecond: 1_048_576 });
    await found.changeMedium("drive", { type: "file", path: await lab.image("old.iso"), format: "raw" });
    await found.resizeDisk("volume-1", 16 * 1_048_576);
    const twin = await lab.image("twin.img", 16);
    await found.mirrorDisk("volume-1", { type: "file", path: twin, format: "raw" });
    const { devices: live } = await lab.domain(guest.uuid);
    expect(live?.disk?.find(({ serial }) => serial === "volume-1")?.source?.file).toBe(twin);
    expect(live?.disk?.find(({ target }) => target?.dev === "vda")?.iotune?.total_bytes_sec).toBe(1_048_576);
    for (const work of [() => found.detachDisk("volume-2", detach), () => found.detachNic("port", detach)])
      expect(["pending", "detached"]).toContain(await work());
    for (const id of ["volume-1", "mouse"])
      expect(["pending", "detached"]).toContain(
        id === "mouse" ? await found.detachDevice(id, detach) : await found.detachDisk(id, detach),
      );
    await found.kill();
    await found.start({ paused: true });
    const { disks, nics, hardware } = await found.definition();
    expect([disks.map(({ id }) => id), nics, hardware?.devices ?? []]).toEqual([["root", "drive", "volume-3"], [], []]);
    expect(await units()).toEqual({ "volume-3": "2" });
    await found.kill();
  });
});

describe("a SCSI controller", () => {
  it("takes disks at any of its 256 places, at start and while the guest runs", T, async () => {
    const path = await lab.image("scsi.img");
    const at = (id: string, deviceName: string): ReturnType<typeof disk> =>
      disk(id, deviceName, path, { bus: "scsi", serial: id, readOnly: true });
    const guest = await lab.define({ disks: [at("boot", "sda"), at("far", "sdiv")] });
    await guest.start({ paused: true });
    await guest.attachDisk(at("hole", "sdb"));
    await expect(guest.attachDisk(at("beyond", "sdiw"))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const { devices } = await lab.domain(guest.uuid);
    expect(devices?.disk?.map(({ serial, address }) => [serial, address?.unit])).toEqual(
      expect.arrayContaining([
        ["boot", "0"],
        ["far", "255"],
        ["hole", "1"],
      ]),
    );
    await guest.kill();
  });
});

describe("the host", () => {
  it("lists its PCI functions as the kernel does", T, async () => {
    const { pci, mediatedTypes } = await lab.hypervisor.hostDevices();
    const kernel = await readdir("/sys/bus/pci/devices");
    expect(pci.map(({ address }) => address)).toEqual(kernel.sort());
    for (const { vendorId, productId } of pci) expect([vendorId, productId].every((id) => id > 0)).toBe(true);
    expect(mediatedTypes.every(({ available }) => available >= 0)).toBe(true);
  });
});

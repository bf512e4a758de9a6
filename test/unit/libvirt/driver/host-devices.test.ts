// Devices of the host: what libvirt lists of them, and guests that are given them.
import { afterEach, describe, expect, it } from "vitest";
import { LibvirtClient, parseDomainXml } from "../../../../src/libvirt/index.js";
import type { LibvirtXml } from "../../../../src/libvirt/index.js";
import { pciDevicesOf } from "../../../../src/libvirt/driver/host/pci-devices.js";
import { smallSpec } from "../../driver/support/specs.js";
import { LibvirtStage, instance } from "./support/libvirt-stage.js";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function openStage(): Promise<LibvirtStage> {
  const stage = await LibvirtStage.open();
  cleanups.push(() => stage.close());
  return stage;
}

async function hostDevices(
  stage: LibvirtStage,
  where: "live" | "configured",
): Promise<readonly LibvirtXml.DomainHostdev[]> {
  await using client = await LibvirtClient.open("qemu:///system", { connect: stage.host.connector });
  const domain = await client.lookupDomainByUuid(instance.uuid);
  const xml = await domain.getXmlDesc({ flags: where === "live" ? [] : ["inactive"] });
  return parseDomainXml(xml).devices?.hostdev ?? [];
}

describe("the host's PCI devices", () => {
  it("are listed with their functions, nodes and drivers, and with who has them", async () => {
    const { driver } = await openStage();
    await driver.spawn(smallSpec({ hardware: { devices: [{ type: "pciHost", id: "nic", address: "0000:3b:00.2" }] } }));
    const { pciDevices = [] } = await driver.getAvailableResource();
    expect(pciDevices.map(({ address }) => address)).toEqual([
      "0000:00:1f.2",
      "0000:03:00.0",
      "0000:3b:00.0",
      "0000:3b:00.2",
    ]);
    expect(pciDevices[0]).toEqual({
      address: "0000:00:1f.2",
      vendorId: 0x8086,
      productId: 0x2922,
      classCode: 0x010601,
    });
    expect(pciDevices[2]).toEqual({
      address: "0000:3b:00.0",
      vendorId: 0x15b3,
      productId: 0x1017,
      vendor: "Mellanox",
      product: "ConnectX-5",
      classCode: 0x020000,
      driver: "mlx5_core",
      numaNode: 1,
      iommuGroup: 40,
      virtualFunctions: ["0000:3b:00.2"],
      maxVirtualFunctions: 8,
    });
    expect(pciDevices[3]).toMatchObject({ physicalFunction: "0000:3b:00.0", instanceUuid: instance.uuid });
    expect(pciDevices[3]).not.toHaveProperty("virtualFunctions");
  });

  it("are those that are left when one goes while they are read, and none where libvirt watches none", async () => {
    const stage = await openStage();
    const gone = stage.host.faults.refuse(
      "nodeDeviceGetXmlDesc",
      { code: 53, domain: 16, message: "gone" },
      { nth: 1 },
    );
    expect((await stage.driver.getAvailableResource()).pciDevices).toHaveLength(3);
    gone.remove();
    stage.host.faults.refuse("connectListAllNodeDevices", { code: 3, domain: 16, message: "no such driver" });
    expect((await stage.driver.getAvailableResource()).pciDevices).toEqual([]);
  });

  it("are none in documents of other devices", () => {
    expect(pciDevicesOf("<device><name>computer</name><capability type='system'/></device>")).toEqual([]);
    expect(pciDevicesOf("<device><name>pci</name><capability type='pci'><bus>1</bus></capability></device>")).toEqual(
      [],
    );
  });
});

describe("a guest that is given devices of the host", () => {
  it("gets PCI and USB devices that libvirt takes from the host's drivers, and gives them back", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    const before = await stage.ledger();
    const gpu = { type: "pciHost", id: "gpu", address: "0000:3b:00.2" } as const;
    const key = { type: "usbHost", id: "key", vendorId: 0x1050, productId: 0x0407 } as const;
    const stick = { type: "usbHostAddress", id: "stick", bus: 1, address: 4 } as const;
    for (const device of [gpu, key, stick]) await stage.driver.attachDevice(instance, device);
    for (const where of ["live", "configured"] as const)
      expect(await hostDevices(stage, where)).toMatchObject([
        { type: "pci", managed: "yes", source: { address: { bus: "0x3b", function: "0x2" } } },
        { type: "usb", managed: "yes", source: { vendor: { id: "0x1050" }, product: { id: "0x0407" } } },
        { type: "usb", managed: "yes", source: { address: { bus: "1", device: "4" } } },
      ]);
    expect((await stage.driver.listDevices(instance)).map(({ id }) => id)).toEqual(["gpu", "key", "stick"]);
    for (const { id } of [key, gpu, stick]) await stage.driver.detachDevice(instance, id);
    expect(await stage.ledger()).toEqual(before);
  });
});

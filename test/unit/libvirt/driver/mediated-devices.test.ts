// Mediated devices that a LibvirtDriver hands out to guests, makes again after a boot of the host, and takes back.
import { rm } from "node:fs/promises";
import { afterEach, describe, expect, it } from "vitest";
import type { InstanceSpec } from "../../../../src/driver/index.js";
import { MediatedDevices } from "../../../../src/host/index.js";
import { ErrorDomain, ErrorNumber, LibvirtClient, parseDomainXml } from "../../../../src/libvirt/index.js";
import { OTHER_UUID, smallSpec } from "../../driver/support/specs.js";
import { SimulatedMdevs } from "../../host/support/simulated-mdevs.js";
import type { Room } from "../../host/support/simulated-mdevs.js";
import { LibvirtStage, instance } from "./support/libvirt-stage.js";

const GPU = "0000:3b:00.0";
const OWN = "0b0c5c5e-5f50-4d0b-8a35-6c4f2f0c1a02";
const other = { uuid: OTHER_UUID, name: "other" };
const slice = { type: "mediatedOfType", id: "gpu", mdevType: "nvidia-35" } as const;
const second = { ...slice, id: "gpu-2" } as const;

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Parts {
  readonly stage: LibvirtStage;
  readonly kernel: SimulatedMdevs;
  /** The host's mediated devices. */
  readonly there: () => Promise<readonly { readonly uuid: string; readonly parent: string }[]>;
  /** Uuids of those that libvirt has been told to give the guest: in memory, and to start with. */
  readonly given: (uuid?: string) => Promise<readonly [readonly string[], readonly string[]]>;
}

async function open(room: Room = { [GPU]: { "nvidia-35": 2 } }): Promise<Parts> {
  const kernel = await SimulatedMdevs.create(room);
  cleanups.push(() => rm(kernel.sysfs, { recursive: true, force: true }));
  const stage = await LibvirtStage.open({ mediatedDevices: kernel.options });
  cleanups.push(() => stage.close());
  const given: Parts["given"] = async (uuid = instance.uuid) => {
    await using client = await LibvirtClient.open("qemu:///system", { connect: stage.host.connector });
    const domain = await client.lookupDomainByUuid(uuid);
    const read = async (inactive: boolean): Promise<readonly string[]> => {
      const { devices } = parseDomainXml(await domain.getXmlDesc({ flags: inactive ? ["inactive"] : [] }));
      return (devices?.hostdev ?? []).flatMap(({ type, source }) =>
        type === "mdev" ? [source?.address?.uuid ?? ""] : [],
      );
    };
    return [await read(false), await read(true)];
  };
  return { stage, kernel, there: () => new MediatedDevices(kernel.options).list(), given };
}

function spec(devices: NonNullable<InstanceSpec["hardware"]>["devices"]): InstanceSpec {
  return smallSpec({ vifs: [], blockDevices: [], hardware: { devices: devices ?? [] } });
}

describe("a guest that wants a mediated device of a type", () => {
  it("gets a new one, which is gone when the guest is", async () => {
    const { stage, there, given } = await open();
    await stage.driver.spawn(spec([slice]));
    const [device] = await there();
    expect(device).toMatchObject({ mdevType: "nvidia-35", parent: GPU });
    expect(await given()).toEqual([[device?.uuid], [device?.uuid]]);
    await stage.driver.reboot(instance, "hard");
    expect(await there()).toEqual([device]);
    await stage.driver.destroy(instance);
    expect(await there()).toEqual([]);
  });

  it("gets one that is there and that no guest has; that stays", async () => {
    const { stage, kernel, there, given } = await open();
    const ready = { uuid: OWN, mdevType: "nvidia-35", parent: GPU };
    await kernel.make(ready);
    await stage.driver.spawn(spec([slice, second]));
    const made = (await there()).find(({ uuid }) => uuid !== OWN);
    expect((await given())[0]).toEqual([OWN, made?.uuid]);
    await expect(
      stage.driver.spawn({ ...spec([{ type: "mediated", id: "gpu", uuid: OWN }]), ...other }),
    ).rejects.toMatchObject({ code: "CONFLICT" });
    await stage.driver.destroy(instance);
    expect(await there()).toEqual([ready]);
  });

  it("is refused when there is none left, and nothing of it stays", async () => {
    const { stage, kernel, there } = await open({ [GPU]: { "nvidia-35": 1, "nvidia-36": 0 } });
    await stage.driver.spawn(smallSpec({ ...other, vifs: [], blockDevices: [] }));
    const before = await stage.ledger();
    for (const devices of [
      [{ ...slice, mdevType: "nvidia-36" }],
      [{ ...slice, parent: "0000:af:00.0" }],
      [slice, second],
    ])
      await expect(stage.driver.spawn(spec(devices))).rejects.toMatchObject({
        code: "NO_CAPACITY",
        device: devices.at(-1)?.id,
      });
    // What the kernel has promised, it does not always keep.
    kernel.failures.push("ENOSPC");
    await expect(stage.driver.attachDevice(other, slice)).rejects.toMatchObject({ code: "NO_CAPACITY", device: "gpu" });
    expect(await there()).toEqual([]);
    expect(await stage.ledger()).toEqual(before);
  });

  it("gets it and gives it back while it runs, and has nothing of one that libvirt refuses", async () => {
    const { stage, there, given } = await open();
    await stage.driver.spawn(smallSpec());
    const before = await stage.ledger();
    const error = { code: ErrorNumber.internalError, domain: ErrorDomain.qemu, message: "a fault" };
    const fault = stage.host.faults.refuse("domainAttachDeviceFlags", error);
    await expect(stage.driver.attachDevice(instance, slice)).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED" });
    fault.remove();
    expect([await there(), await stage.ledger()]).toEqual([[], before]);
    await stage.driver.attachDevice(instance, slice);
    const [device] = await there();
    expect(await given()).toEqual([[device?.uuid], [device?.uuid]]);
    await stage.driver.detachDevice(instance, "gpu");
    expect([await there(), await stage.ledger()]).toEqual([[], before]);
  });
});

describe("a boot of the host", () => {
  it("leaves no mediated device, and the driver makes all again", async () => {
    const { stage, kernel, there, given } = await open({
      [GPU]: { "nvidia-35": 2 },
      "0000:af:00.0": { "nvidia-35": 2 },
    });
    const ready = { uuid: OWN, mdevType: "nvidia-35", parent: "0000:af:00.0" };
    await kernel.make(ready);
    await stage.driver.spawn(
      spec([
        { ...slice, parent: GPU },
        { type: "mediated", id: "own", uuid: OWN },
      ]),
    );
    await stage.driver.spawn({ ...spec([slice]), ...other }, { powerOn: false });
    const before = await there();
    expect(before).toHaveLength(3);
    await stage.driver.powerOff(instance, { graceMs: 0 });
    await stage.driver.close();
    await kernel.boot();
    expect(await there()).toEqual([]);
    await stage.restart();
    expect(await there()).toEqual(before);
    await stage.driver.powerOn(instance);
    expect((await given())[0]).toHaveLength(2);
    // A device that is lost while the driver runs is made when the guest starts.
    await kernel.boot();
    await stage.driver.powerOn(other);
    expect((await there()).map(({ uuid }) => uuid)).toEqual((await given(OTHER_UUID))[0]);
  });

  it("that left no room for a guest's device keeps the guest from starting until there is some", async () => {
    const { stage, kernel, there, given } = await open({ [GPU]: { "nvidia-35": 1 } });
    await stage.driver.spawn(spec([slice]), { powerOn: false });
    const [uuid] = (await given())[1];
    await stage.driver.close();
    await kernel.boot();
    await kernel.make({ uuid: OWN, mdevType: "nvidia-35", parent: GPU });
    await stage.restart();
    await expect(stage.driver.powerOn(instance)).rejects.toMatchObject({ code: "NO_CAPACITY" });
    await new MediatedDevices(kernel.options).remove(OWN);
    await stage.driver.powerOn(instance);
    expect((await there()).map((device) => device.uuid)).toEqual([uuid]);
  });
});

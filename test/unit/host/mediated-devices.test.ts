// Mediated devices are read and made by the kernel's own files.
import { rm } from "node:fs/promises";
import { afterEach, describe, expect, it } from "vitest";
import { MediatedDevices } from "../../../src/host/index.js";
import { SimulatedMdevs } from "./support/simulated-mdevs.js";

const UUID = "0b0c5c5e-5f50-4d0b-8a35-6c4f2f0c1a02";
const OTHER = "0b0c5c5e-5f50-4d0b-8a35-6c4f2f0c1a03";
const GPU = "0000:3b:00.0";

const trees: string[] = [];
afterEach(async () => {
  for (const tree of trees.splice(0)) await rm(tree, { recursive: true, force: true });
});

async function host(): Promise<{ kernel: SimulatedMdevs; devices: MediatedDevices }> {
  const kernel = await SimulatedMdevs.create({
    [GPU]: { "nvidia-35": 2, "nvidia-36": 1 },
    "0000:af:00.0": { "nvidia-35": 0 },
  });
  trees.push(kernel.sysfs);
  return { kernel, devices: new MediatedDevices(kernel.options) };
}

describe("mediated devices of a host", () => {
  it("are made, listed and removed", async () => {
    const { devices } = await host();
    const device = { uuid: UUID, mdevType: "nvidia-35", parent: GPU };
    expect(await devices.list()).toEqual([]);
    await devices.create(device);
    await devices.create(device);
    expect(await devices.list()).toEqual([device]);
    const api = { deviceApi: "vfio-pci" };
    expect(await devices.types()).toEqual([
      { mdevType: "nvidia-35", parent: GPU, name: "Model nvidia-35", ...api, available: 1, existing: 1 },
      { mdevType: "nvidia-36", parent: GPU, name: "Model nvidia-36", ...api, available: 1, existing: 0 },
      { mdevType: "nvidia-35", parent: "0000:af:00.0", name: "Model nvidia-35", ...api, available: 0, existing: 0 },
    ]);
    await devices.remove(UUID);
    await devices.remove(UUID);
    expect(await devices.list()).toEqual([]);
  });

  it("are refused with the kernel's word when there is no room, and nothing is made of bad names", async () => {
    const { kernel, devices } = await host();
    await devices.create({ uuid: UUID, mdevType: "nvidia-36", parent: GPU });
    await expect(devices.create({ uuid: OTHER, mdevType: "nvidia-36", parent: GPU })).rejects.toMatchObject({
      code: "HOST_IO",
      errno: "ENOSPC",
    });
    await expect(devices.create({ uuid: OTHER, mdevType: "none", parent: GPU })).rejects.toMatchObject({
      errno: "ENOENT",
    });
    for (const bad of [
      { uuid: "../../x", mdevType: "nvidia-35", parent: GPU },
      { uuid: OTHER, mdevType: "../create", parent: GPU },
      { uuid: OTHER, mdevType: "nvidia-35", parent: "a/b" },
    ])
      await expect(devices.create(bad)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    kernel.failures.push("EBUSY");
    await expect(devices.remove(UUID)).rejects.toMatchObject({ code: "HOST_IO", errno: "EBUSY" });
    expect(await devices.list()).toHaveLength(1);
  });

  it("are none where the kernel has no support for them", async () => {
    const devices = new MediatedDevices({ sysfs: "/nonexistent" });
    expect(await devices.list()).toEqual([]);
    expect(await devices.types()).toEqual([]);
    await devices.remove(UUID);
    await expect(devices.create({ uuid: UUID, mdevType: "a", parent: "b" })).rejects.toMatchObject({ errno: "ENOENT" });
    expect(() => new MediatedDevices({ sysfs: "relative" })).toThrow(/absolute path/);
  });
});

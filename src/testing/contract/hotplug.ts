import assert from "node:assert/strict";
import type { InstanceSpec } from "../../driver/index.js";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const hotplugContract: ContractPart = (context, it) => {
  const sizesOf = async (instance: { readonly uuid: string }): Promise<readonly number[]> => {
    const { flavor } = await context.driver.getSpec(instance);
    const { vcpus, memoryMiB } = await context.driver.getInfo(instance);
    assert.deepEqual([vcpus, memoryMiB], [flavor.vcpus, flavor.memoryMiB], "guest and spec");
    return [vcpus, memoryMiB];
  };

  if (context.has("vcpuHotplug") || context.has("memoryHotplug")) {
    it("gives a running guest more, within the bounds of its spec, and keeps it over a restart of the driver", async () => {
      const { flavor: small } = context.subject.spec();
      // An operating system that may be given more sets some of what it has aside.
      const flavor = { ...small, memoryMiB: small.memoryMiB + 256 };
      const hardware = {
        cpu: { maxVcpus: flavor.vcpus + 1 },
        memory: { maxMiB: flavor.memoryMiB + 256 },
      } satisfies InstanceSpec["hardware"];
      await context.withInstance(
        async (instance) => {
          let [vcpus, memoryMiB] = [flavor.vcpus, flavor.memoryMiB];
          if (context.has("vcpuHotplug")) {
            vcpus += 1;
            for (const _again of [1, 2]) await context.driver.setVcpus(instance, vcpus);
            const error = await rejectsWith("INVALID_ARGUMENT", context.driver.setVcpus(instance, vcpus + 1));
            assert.equal((error as Error & { readonly field?: string }).field, "vcpus");
          }
          if (context.has("memoryHotplug")) {
            memoryMiB += 128;
            for (const _again of [1, 2]) await context.driver.setMemory(instance, memoryMiB);
            await rejectsWith("INVALID_ARGUMENT", context.driver.setMemory(instance, memoryMiB + 1024));
          }
          assert.deepEqual(await sizesOf(instance), [vcpus, memoryMiB]);
          await context.restart();
          assert.deepEqual(await sizesOf(instance), [vcpus, memoryMiB]);
          assert.equal((await context.driver.getInfo(instance)).state, "running");
        },
        { spec: { flavor, hardware }, booted: true },
      );
    });

    it("changes a stopped guest, which then starts with it", async () => {
      await context.withInstance(
        async (instance, { flavor }) => {
          if (context.has("vcpuHotplug")) await context.driver.setVcpus(instance, flavor.vcpus + 1);
          if (context.has("memoryHotplug")) await context.driver.setMemory(instance, flavor.memoryMiB + 64);
          await context.driver.powerOn(instance);
          const more = [
            flavor.vcpus + (context.has("vcpuHotplug") ? 1 : 0),
            flavor.memoryMiB + (context.has("memoryHotplug") ? 64 : 0),
          ];
          assert.deepEqual(await sizesOf(instance), more);
        },
        { powerOn: false },
      );
      if (context.has("vcpuHotplug")) await rejectsWith("INSTANCE_NOT_FOUND", context.driver.setVcpus(NOBODY, 1));
      if (context.has("memoryHotplug")) await rejectsWith("INSTANCE_NOT_FOUND", context.driver.setMemory(NOBODY, 64));
    });
  }

  if (context.has("balloon")) {
    it("asks a running guest to do with less, and leaves its flavor alone", async () => {
      await context.withInstance(async (instance, { flavor }) => {
        await context.driver.setBalloon(instance, flavor.memoryMiB - 16);
        assert.equal((await context.driver.getSpec(instance)).flavor.memoryMiB, flavor.memoryMiB);
        await rejectsWith("INVALID_ARGUMENT", context.driver.setBalloon(instance, flavor.memoryMiB + 1));
        await context.driver.powerOff(instance, { graceMs: 0 });
        await rejectsWith("INVALID_STATE", context.driver.setBalloon(instance, flavor.memoryMiB));
      });
    });
  }

  if (context.has("devices")) {
    const device = { type: "usbInput", id: "contract-mouse", model: "mouse" } as const;

    it("gives a running guest a device and takes it out again; second calls succeed", async () => {
      await context.withInstance(
        async (instance) => {
          const before = await context.driver.listDevices(instance);
          for (const _again of [1, 2]) await context.driver.attachDevice(instance, device);
          assert.deepEqual(await context.driver.listDevices(instance), [...before, device]);
          await rejectsWith("CONFLICT", context.driver.attachDevice(instance, { ...device, model: "keyboard" }));
          for (const _again of [1, 2]) await context.driver.detachDevice(instance, device.id);
          assert.deepEqual(await context.driver.listDevices(instance), before);
        },
        { booted: true },
      );
      await context.driver.detachDevice(NOBODY, device.id);
      await rejectsWith("INSTANCE_NOT_FOUND", context.driver.attachDevice(NOBODY, device));
    });

    it("gives a stopped guest a device, which it then starts with", async () => {
      await context.withInstance(
        async (instance) => {
          await context.driver.attachDevice(instance, device);
          await context.driver.powerOn(instance);
          assert((await context.driver.listDevices(instance)).some(({ id }) => id === device.id));
        },
        { powerOn: false },
      );
    });
  }
};

import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { KvmDriver } from "../../../src/kvm/index.js";
import { DirectoryImageStore, LvmDiskBackend } from "../../../src/storage/index.js";
import { requirePackages, waitFor, withTemporaryDirectory } from "../../lab/index.js";
import { canUseLoopLvm, LoopVolumeGroup } from "./loop-lvm.js";
import { MIB } from "./support.js";
import { writingGuest } from "./writing-guest.js";

const GIB = 1024 * MIB;
const usable = await canUseLoopLvm();

beforeAll(() => requirePackages("qemu-img", "qemu-system-x86_64"));

describe.runIf(usable)("a driver whose disks are logical volumes", () => {
  it("spawns, snapshots, rescues, resizes, goes back, rebuilds and destroys", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      await using group = await LoopVolumeGroup.create(root, 32 * GIB, 4 * GIB);
      const disks = new LvmDiskBackend({
        volumeGroup: group.name,
        directory: join(root, "files"),
        config: group.config,
        deviceDirectory: group.deviceDirectory,
        commands: group,
      });
      const images = new DirectoryImageStore({ directory: join(root, "images") });
      for (const id of ["first", "second"]) {
        await writeFile(join(root, id), writingGuest(id, MIB));
        await images.import({ id, format: "raw", path: join(root, id) });
      }
      const stateDirectory = join(root, "state");
      await using driver = new KvmDriver({
        stateDirectory,
        accelerator: "tcg",
        collaborators: { images, disks },
        // This guest heeds no power button.
        timeouts: { shutdownGraceMs: 0 },
      });
      await driver.initHost();
      const instance = { uuid: randomUUID(), name: "lvm" };
      const { uuid } = instance;
      const flavor = { vcpus: 1, memoryMiB: 32, rootGiB: 0 };
      const larger = { ...flavor, rootGiB: 1 };
      let booted = 0;
      /** The guest says what it has read, and has written, once more. */
      const boots = (saying: string): Promise<unknown> => {
        booted++;
        return waitFor(
          async () => {
            const { bytes } = await driver.getConsoleOutput(instance);
            const said = [
              ...Buffer.from(bytes)
                .toString("latin1")
                .matchAll(/((?:\[\w+\])+) (WROTE|FAILED)/g),
            ];
            return said.length >= booted && said.at(-1)?.[0] === `${saying} WROTE`;
          },
          { timeoutMs: 120_000, what: saying },
        );
      };
      const sizes = async (): Promise<unknown> =>
        (await driver.getInstanceDiskInfo(instance)).map(({ name, virtualSizeBytes }) => [name, virtualSizeBytes]);

      try {
        await driver.spawn({ ...instance, flavor, imageId: "first" });
        await boots("[first]");
        expect(await sizes()).toEqual([["root", 4 * MIB]]);
        expect(await driver.snapshot(instance, "snap", { format: "qcow2", mode: "cold" }).result).toMatchObject({
          properties: { image_type: "snapshot", base_image_ref: "first" },
        });
        expect((await driver.getInfo(instance)).state).toBe("running");

        await driver.rescue(instance, { imageId: "second" });
        booted = 0;
        await boots("[second]");
        await driver.unrescue(instance);
        expect(await group.volumes()).toEqual([`${uuid}_root`]);
        booted = 0;
        await boots("[first][first]");

        await driver.resize(instance, { ...larger, swapMiB: 8 }).result;
        expect(await sizes()).toEqual([
          ["root", GIB],
          ["swap", 8 * MIB],
        ]);
        expect(await group.volumes()).toEqual([`${uuid}_root`, `${uuid}_root+p1`, `${uuid}_swap`]);
        await driver.finishRevertMigration(instance);
        expect(await sizes()).toEqual([["root", 4 * MIB]]);
        expect(await group.volumes()).toEqual([`${uuid}_root`]);

        // More than the group has: the guest runs on with what it had.
        const huge = driver.resize(instance, { ...flavor, rootGiB: 64 }).result;
        await expect(huge).rejects.toMatchObject({ code: "DISK_FULL" });
        expect((await driver.getInfo(instance)).state).toBe("running");
        expect(await sizes()).toEqual([["root", 4 * MIB]]);
        expect(await group.volumes()).toEqual([`${uuid}_root`]);

        await driver.rebuild(instance, "snap");
        expect(await sizes()).toEqual([["root", 4 * MIB]]);
        expect(await group.volumes()).toEqual([`${uuid}_root`]);
        booted = 0;
        await boots("[first][first]");
        await driver.resize(instance, larger).result;
        await driver.confirmMigration(instance);
        expect(await sizes()).toEqual([["root", GIB]]);
        expect(await group.volumes()).toEqual([`${uuid}_root`]);
      } finally {
        await driver.destroy(instance);
      }
      expect(await group.volumes()).toEqual([]);
    }));
});

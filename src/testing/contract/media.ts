import assert from "node:assert/strict";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const mediaContract: ContractPart = (context, it) => {
  if (context.has("removableMedia")) {
    it("changes what is in a drive, while the guest runs and while it does not", async () => {
      const [one, two] = [await context.subject.volume(), await context.subject.volume()];
      const spec = {
        blockDevices: [
          { connection: one, deviceType: "cdrom", bus: "sata", deviceName: "sda" },
          { deviceType: "cdrom", bus: "sata", deviceName: "sdb" },
        ],
      } as const;
      await context.withInstance(
        async (instance) => {
          const inDrives = async (): Promise<readonly (string | undefined)[]> =>
            (await context.driver.listDisks(instance))
              .filter(({ deviceName }) => deviceName.startsWith("sd"))
              .sort((a, b) => (a.deviceName < b.deviceName ? -1 : 1))
              .map(({ volumeId }) => volumeId);
          assert.deepEqual(await inDrives(), [one.volumeId, undefined]);
          const [first, second] = (await context.driver.listDisks(instance)).filter(({ bus }) => bus === "sata");
          assert(first !== undefined && second !== undefined);
          for (const _again of [1, 2]) {
            const { id, volumeId } = await context.driver.changeMedium(instance, first.id, two, { force: true });
            assert.deepEqual([id, volumeId], [first.id, two.volumeId]);
          }
          await rejectsWith("CONFLICT", context.driver.changeMedium(instance, second.id, two));
          await context.driver.changeMedium(instance, second.id, one);
          for (const _again of [1, 2])
            await context.driver.changeMedium(instance, first.id, undefined, { force: true });
          assert.deepEqual(await inDrives(), [undefined, one.volumeId]);
          await context.restart();
          assert.deepEqual(await inDrives(), [undefined, one.volumeId]);
          await context.driver.powerOff(instance, { graceMs: 0 });
          await context.driver.changeMedium(instance, first.id, two);
          await context.driver.powerOn(instance);
          assert.deepEqual(await inDrives(), [two.volumeId, one.volumeId]);
          await rejectsWith("DISK_NOT_FOUND", context.driver.changeMedium(instance, "no-drive", undefined));
          await rejectsWith("INVALID_ARGUMENT", context.driver.changeMedium(instance, "root", undefined));
        },
        { spec },
      );
      await rejectsWith("INSTANCE_NOT_FOUND", context.driver.changeMedium(NOBODY, "drive-sda", undefined));
    });
  }

  if (context.has("diskLimits")) {
    it("limits a disk of a running guest, and takes the limits off again", async () => {
      await context.withInstance(async (instance) => {
        const limits = { totalBytesPerSecond: 1_048_576, readOperationsPerSecond: 100 };
        for (const _again of [1, 2]) await context.driver.setDiskLimits(instance, "root", limits);
        await context.driver.setDiskLimits(instance, "root", {});
        const contrary = { totalBytesPerSecond: 1, readBytesPerSecond: 1 };
        await rejectsWith("INVALID_ARGUMENT", context.driver.setDiskLimits(instance, "root", contrary));
        await rejectsWith("DISK_NOT_FOUND", context.driver.setDiskLimits(instance, "no-disk", limits));
        await context.driver.powerOff(instance, { graceMs: 0 });
        await context.driver.setDiskLimits(instance, "root", limits);
        await context.driver.powerOn(instance);
      });
      await rejectsWith("INSTANCE_NOT_FOUND", context.driver.setDiskLimits(NOBODY, "root", {}));
    });
  }

  if (context.has("consolePasswords")) {
    it("sets the password of a console that the guest has, and lets none out", async () => {
      const kinds = (["vnc", "spice"] as const).filter((kind) => context.has(`${kind}Console`));
      const spec = {
        hardware: Object.fromEntries(kinds.map((kind) => [kind, { passwordRequired: true }])),
      };
      await context.withInstance(
        async (instance) => {
          for (const kind of kinds) {
            await context.driver.setConsolePassword(instance, kind, "swordfsh");
            await context.driver.setConsolePassword(instance, kind, "swordfsh", { validMs: 60_000 });
          }
          const error = await rejectsWith(
            "INVALID_ARGUMENT",
            context.driver.setConsolePassword(instance, "vnc", "swordfish-and-more"),
          );
          assert.equal(JSON.stringify(error).includes("swordfish"), false);
          await context.driver.powerOff(instance, { graceMs: 0 });
          await rejectsWith("INVALID_STATE", context.driver.setConsolePassword(instance, "vnc", "swordfsh"));
        },
        { spec },
      );
    });
  }
};

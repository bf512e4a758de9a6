import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { LvmDiskBackend } from "../../../src/storage/index.js";
import type { LocalImage } from "../../../src/storage/index.js";
import { requirePackages, run, withTemporaryDirectory } from "../../lab/index.js";
import { canUseLoopLvm, LoopVolumeGroup } from "./loop-lvm.js";
import { guestView, makeImage, MIB, writeBytes } from "./support.js";

const UUID = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";
const usable = await canUseLoopLvm();

interface World {
  readonly root: string;
  readonly group: LoopVolumeGroup;
  readonly disks: LvmDiskBackend;
  readonly image: LocalImage;
}

function inGroup(test: (world: World) => Promise<void>): Promise<void> {
  return withTemporaryDirectory(async ({ path: root }) => {
    await using group = await LoopVolumeGroup.create(root, 256 * MIB);
    const image: LocalImage = { id: "image", path: join(root, "image"), format: "qcow2", virtualSizeBytes: 4 * MIB };
    await makeImage(image.path, "qcow2", 7);
    const disks = new LvmDiskBackend({
      volumeGroup: group.name,
      directory: join(root, "files"),
      config: group.config,
      deviceDirectory: group.deviceDirectory,
      commands: group,
    });
    await test({ root, group, disks, image });
  });
}

async function pathOf(disks: LvmDiskBackend, name: string): Promise<string> {
  const source = (await disks.list(UUID)).find((disk) => disk.name === name)?.source;
  return source?.type === "block" ? source.path : "";
}

/** What a guest sees of the first bytes. */
async function bytesOf(path: string, length: number): Promise<Buffer> {
  return withTemporaryDirectory(async (directory) => {
    const copy = join(directory.path, "copy");
    await run(["dd", `if=${path}`, `of=${copy}`, "bs=1M", `count=${length / MIB}`, "status=none"]);
    return readFile(copy);
  });
}

beforeAll(() => requirePackages("qemu-img"));

describe.runIf(usable)("disks that are logical volumes", () => {
  it("hold their image and zeros, grow, are exported, and show nothing of those that were there before", () =>
    inGroup(async ({ disks, image, group, root }) => {
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 6 * MIB, image });
      const path = await pathOf(disks, "root");
      const wanted = join(root, "wanted");
      await run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image.path, wanted]);
      await run(["truncate", "-s", String(8 * MIB), wanted]);
      expect((await bytesOf(path, 8 * MIB)).equals(await readFile(wanted))).toBe(true);
      expect(await disks.list(UUID)).toMatchObject([
        { name: "root", virtualSizeBytes: 8 * MIB, overCommittedBytes: 0 },
      ]);

      await writeBytes(path, "raw", 9, 0, 8 * MIB);
      await disks.resize(UUID, "root", 16 * MIB);
      await run(["truncate", "-s", String(16 * MIB), wanted]);
      await writeBytes(wanted, "raw", 9, 0, 8 * MIB);
      expect((await bytesOf(await pathOf(disks, "root"), 16 * MIB)).equals(await readFile(wanted))).toBe(true);
      const out = await disks.temporaryPath("snapshot");
      await disks.exportDisk(UUID, "root", out, "qcow2");
      expect(await guestView(out, "qcow2")).toBe(await guestView(wanted, "raw"));

      await disks.remove(UUID, "root");
      await disks.create({ instanceUuid: UUID, name: "swap", sizeBytes: 16 * MIB });
      expect((await bytesOf(await pathOf(disks, "swap"), 16 * MIB)).equals(Buffer.alloc(16 * MIB))).toBe(true);
      expect(await disks.removeAll(UUID)).toBe(true);
      expect(await group.volumes()).toEqual([]);
    }));

  it("are parked and come back with every byte, and tokens and marks are the group's", () =>
    inGroup(async ({ disks, image, group }) => {
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 4 * MIB, image });
      const before = await bytesOf(await pathOf(disks, "root"), 4 * MIB);
      await disks.park(UUID, "resize");
      await disks.resize(UUID, "root", 8 * MIB);
      await writeBytes(await pathOf(disks, "root"), "raw", 3, 0, 8 * MIB);
      await disks.create({ instanceUuid: UUID, name: "swap", sizeBytes: 4 * MIB });
      expect(await group.volumes()).toEqual([`${UUID}_root`, `${UUID}_root+p1`, `${UUID}_swap`]);
      await disks.restore(UUID, "resize");
      expect(await group.volumes()).toEqual([`${UUID}_root`]);
      expect((await bytesOf(await pathOf(disks, "root"), 4 * MIB)).equals(before)).toBe(true);
      await disks.park(UUID, "resize");
      await disks.discardParked(UUID, "resize");
      await disks.leaveToken("t");
      expect(await disks.seesToken("t")).toBe(true);
      await disks.removeToken("t");
      expect(await disks.seesToken("t")).toBe(false);
      expect(await group.volumes()).toEqual([`${UUID}_root`]);
    }));

  it("leave nothing where the group has no room, or what is made fails", () =>
    inGroup(async ({ disks, image, group, root }) => {
      const large = { instanceUuid: UUID, name: "root", sizeBytes: 512 * MIB };
      await expect(disks.create(large)).rejects.toMatchObject({ code: "DISK_FULL", device: "root" });
      const broken = { ...image, path: join(root, "broken") };
      await writeFile(broken.path, "no qcow2");
      const request = { instanceUuid: UUID, name: "root", sizeBytes: 4 * MIB, image: broken };
      await expect(disks.create(request)).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
      expect(await group.volumes()).toEqual([]);
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 160 * MIB });
      await expect(disks.resize(UUID, "root", 300 * MIB)).rejects.toMatchObject({ code: "DISK_FULL" });
      await expect(disks.park(UUID, "a")).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(await group.volumes()).toEqual([`${UUID}_root`]);
      await disks.restore(UUID, "a");
      expect(await disks.capacity()).toMatchObject({ totalBytes: 252 * MIB, usedBytes: 160 * MIB });
    }));
});

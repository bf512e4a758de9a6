import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { supportsDirectIo } from "../../../src/storage/index.js";
import { bootSector, requirePackages, run, sandboxKind } from "../../lab/index.js";
import { hasPattern, qcow2, qcow2Disk, Tools } from "./block-lab.js";
import { KvmLab, disk } from "./lab.js";

beforeAll(() => requirePackages("qemu-system-x86_64", "qemu-img"));

/** A directory of a file system that opens no file with O_DIRECT, whatever the kernel. */
async function withoutDirectIo(lab: KvmLab): Promise<AsyncDisposable & { readonly path: string }> {
  const path = lab.directory.file("memory");
  await mkdir(path);
  await run(["mount", "-t", "ramfs", "ramfs", path]);
  return { path, [Symbol.asyncDispose]: async () => void (await run(["umount", "-l", path])) };
}

/** How QEMU has the n-th disk's top node open. */
async function cacheOf(tools: Tools, index: number): Promise<unknown> {
  const drives = await tools.qmp.execute("query-block");
  const found = drives.find(({ qdev }) => qdev?.split("/").includes(`disk${index}`));
  return found?.inserted?.cache;
}

const THROUGH = { direct: false, writeback: false, "no-flush": false };
const PAST = { direct: true, writeback: true, "no-flush": false };

describe.runIf(process.getuid?.() === 0 && sandboxKind() !== "user")(
  "a disk that is to go past the host's page cache",
  () => {
    it("goes through it, with each write on the disk, where a file system does not let it", async () => {
      await using lab = await KvmLab.open();
      await using memory = await withoutDirectIo(lab);
      expect(await supportsDirectIo(memory.path)).toBe(false);
      // The machine's own place for such files may be no better.
      const past = (await supportsDirectIo(lab.directory.path)) ? PAST : THROUGH;
      const base = join(memory.path, "base.qcow2");
      await run(["qemu-img", "create", "-q", "-f", "qcow2", base, "8M"]);
      await copyFile(bootSector(), join(memory.path, "root.raw"));
      const none = { tuning: { cache: "none", aio: "native" } } as const;
      // Its own file can be opened so, the one that it is based on can't.
      const overlay = await qcow2(lab, "overlay", 8, { path: base, format: "qcow2" });
      const guest = await lab.define({
        disks: [
          disk("root", "vda", join(memory.path, "root.raw"), { ...none, bootIndex: 0 }),
          disk("plain", "vdb", await lab.image("plain.raw"), none),
          qcow2Disk("overlay", "vdc", overlay, { tuning: { cache: "directsync" } }),
        ],
      });
      await guest.start();
      await using tools = await Tools.open(lab, guest.uuid);
      expect(await cacheOf(tools, 0)).toEqual(THROUGH);
      expect(await cacheOf(tools, 1)).toEqual(past);
      expect(await cacheOf(tools, 2)).toEqual(THROUGH);
      // What the guest was given to have stays what it has: elsewhere, and once it can be, it is done so.
      expect((await guest.definition()).disks.map(({ tuning }) => tuning?.cache)).toEqual([
        "none",
        "none",
        "directsync",
      ]);

      const plugged = join(memory.path, "plugged.raw");
      await run(["truncate", "-s", "8M", plugged]);
      await guest.attachDisk(disk("more", "vdd", plugged, none));
      expect(await cacheOf(tools, 3)).toEqual(THROUGH);
      await tools.write(3, 5, "0", "64k");
      expect(await hasPattern(plugged, "raw", 5, "0", "64k")).toBe(true);

      // Over to a file of the other kind and back, and an overlay there.
      const larger = join(memory.path, "larger.raw");
      await run(["truncate", "-s", "9M", larger]);
      await tools.write(1, 6, "0", "64k");
      await guest.mirrorDisk("plain", { type: "file", path: larger, format: "raw" });
      expect(await cacheOf(tools, 1)).toMatchObject({ direct: false });
      expect(await hasPattern(larger, "raw", 6, "0", "64k")).toBe(true);
      await guest.mirrorDisk("plain", { type: "file", path: await lab.image("back.raw", 9), format: "raw" });
      expect(await cacheOf(tools, 1)).toMatchObject({ direct: past.direct });
      const above = join(memory.path, "above.qcow2");
      const back = lab.directory.file("back.raw");
      await run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", back, "-F", "raw", above, "9M"]);
      await guest.snapshotDisk("plain", { type: "file", path: above, format: "qcow2" });
      expect(await cacheOf(tools, 1)).toMatchObject({ direct: false });
      await guest.kill();
    });
  },
);

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { DiskTuning, GuestDisk } from "../../../src/driver/index.js";
import { disksThroughPageCache, openable } from "../../../src/kvm/block/direct-io.js";
import type { LoadedDisk } from "../../../src/kvm/plan/block-nodes.js";
import { throughPageCache } from "../../../src/kvm/plan/disk-tuning.js";
import { withTemporaryDirectory } from "../../lab/temporary-directory.js";

function disk(path: string, tuning: DiskTuning, more: Partial<GuestDisk> = {}): LoadedDisk {
  const own = { id: "root", bus: "virtio", deviceType: "disk", deviceName: "vda", readOnly: false } as const;
  return { ...own, shareable: false, tuning, ...more, source: { type: "file", path, format: "raw" } };
}

describe("a disk that is to go past the page cache", () => {
  it("goes through it where its file can't be opened so, and keeps the rest of its tuning", () =>
    withTemporaryDirectory(async (directory) => {
      const path = join(directory.path, "disk");
      await writeFile(path, "");
      const asked: string[] = [];
      const never = (file: string): Promise<boolean> => {
        asked.push(file);
        return Promise.resolve(false);
      };
      expect(await openable(disk(path, { cache: "none", aio: "native", queues: 2 }), never)).toEqual(
        disk(path, { cache: "writethrough", queues: 2 }),
      );
      expect(await openable(disk(path, { cache: "directsync", aio: "io_uring" }), never)).toEqual(
        disk(path, { cache: "writethrough", aio: "io_uring" }),
      );
      expect(asked).toHaveLength(2);
      expect(throughPageCache()).toEqual({ cache: "writethrough" });
      const none = disk(path, { cache: "none" });
      expect(await openable(none, () => Promise.resolve(true))).toBe(none);
    }));

  it("is only looked at when it is one, and left to QEMU when it can't be looked at", async () => {
    const asked: string[] = [];
    const fails = (file: string): Promise<boolean> => {
      asked.push(file);
      return Promise.reject(new Error("who knows"));
    };
    const disks = [
      disk("/dev/null", { cache: "writeback" }),
      disk("/dev/null", {}),
      disk("/dev/null", { cache: "none" }, { shareable: true }),
      disk("/dev/null", { cache: "none" }),
      disk("/none/of/it", { cache: "none" }),
    ];
    expect(await disksThroughPageCache(disks, fails)).toEqual(new Set());
    expect(asked).toEqual(["/dev/null"]);
    const image: GuestDisk = {
      ...disk("/", { cache: "none" }),
      source: { type: "rbd", pool: "p", image: "i", format: "raw" },
    };
    expect(await disksThroughPageCache([image], () => Promise.resolve(false))).toEqual(new Set());
  });
});

import { mkdir, readFile, stat, truncate, unlink, utimes, writeFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import { DirectoryImageStore } from "../../../src/storage/index.js";
import { FakeQemuImg, failure, makeImage } from "./support/fake-qemu-img.js";
import { qcow2Header } from "./support/qcow2-bytes.js";
import { inDirectory, tree } from "./support/tree.js";

interface World {
  readonly directory: string;
  readonly store: DirectoryImageStore;
  readonly qemuImg: FakeQemuImg;
  readonly clock: VirtualClock;
  /** Another process's object on the same directory. */
  readonly other: DirectoryImageStore;
  readonly source: string;
}

function inStore(test: (world: World) => Promise<void>, options: { maxVirtualSizeBytes?: number } = {}): Promise<void> {
  return inDirectory(async (root) => {
    const [directory, source] = [join(root, "images"), join(root, "source")];
    const [qemuImg, clock] = [new FakeQemuImg(), new VirtualClock()];
    const make = (): DirectoryImageStore =>
      new DirectoryImageStore({ directory, commands: qemuImg, clock, ...options });
    await makeImage(source, ["system"]);
    await test({ directory, store: make(), other: make(), qemuImg, clock, source });
  });
}

describe("importing an image", () => {
  it("keeps a copy with its sizes and checksum", () =>
    inStore(async ({ store, source, directory }) => {
      const bytes = await readFile(source);
      const image = await store.import({
        id: "debian",
        name: "Debian",
        format: "qcow2",
        path: source,
        minDiskGiB: 1,
        properties: { os_distro: "debian" },
      });
      expect(image).toEqual({
        id: "debian",
        name: "Debian",
        format: "qcow2",
        minDiskGiB: 1,
        properties: { os_distro: "debian" },
        sizeBytes: bytes.length,
        virtualSizeBytes: 1024 * 1024,
        checksum: `sha256:${createHash("sha256").update(bytes).digest("hex")}`,
      });
      expect(await store.describe("debian")).toEqual(image);
      expect((await stat(join(directory, "debian"))).mode & 0o777).toBe(0o700);
      expect((await stat(join(directory, "debian", "image.qcow2"))).mode & 0o777).toBe(0o600);
    }));

  it("refuses an id that is taken, also when another process took it meanwhile", () =>
    inStore(async ({ store, other, source, directory }) => {
      const results = await Promise.allSettled([
        store.import({ id: "a", format: "qcow2", path: source }),
        other.import({ id: "a", format: "qcow2", path: source }),
      ]);
      expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
      await expect(store.import({ id: "a", format: "qcow2", path: source })).rejects.toMatchObject({
        code: "CONFLICT",
      });
      expect((await tree(directory)).filter((line) => line.startsWith(".staging/") && line !== ".staging/")).toEqual(
        [],
      );
    }));

  it.each(["", ".", "..", "../x", "a/b", ".hidden", "a,b=c", "a\nb", "a\0b", "ä", "x".repeat(256), 7])(
    "refuses the id %j",
    (id) =>
      inStore(async ({ store, source }) => {
        const error = { code: "INVALID_ARGUMENT" };
        await expect(store.import({ id: id as string, format: "qcow2", path: source })).rejects.toMatchObject(error);
        await expect(store.describe(id as string)).rejects.toMatchObject(error);
        await expect(store.fetch(id as string)).rejects.toMatchObject(error);
        await expect(store.delete(id as string)).rejects.toMatchObject(error);
      }),
  );

  it.each([
    ["a file that is not there", { path: "/nowhere/at/all" }, { code: "INVALID_ARGUMENT", field: "path" }],
    ["a relative path", { path: "image" }, { code: "INVALID_ARGUMENT", field: "path" }],
    ["an unknown format", { format: "exe" as "raw" }, { code: "INVALID_ARGUMENT", field: "metadata.format" }],
    ["an unknown field", { colour: "red" }, { code: "INVALID_ARGUMENT", field: "metadata.colour" }],
    ["another checksum", { checksum: `sha256:${"0".repeat(64)}` }, { code: "IMAGE_UNACCEPTABLE" }],
    ["another size", { sizeBytes: 5 }, { code: "IMAGE_UNACCEPTABLE" }],
    ["another virtual size", { virtualSizeBytes: 512 }, { code: "IMAGE_UNACCEPTABLE" }],
  ])("refuses %s and leaves nothing", (_what, change, error) =>
    inStore(async ({ store, source, directory }) => {
      await expect(store.import({ id: "a", format: "qcow2", path: source, ...change })).rejects.toMatchObject(error);
      expect(await store.list()).toEqual([]);
      expect((await tree(directory).catch(() => [])).filter((line) => line !== ".staging/")).toEqual([]);
    }),
  );

  it.each([
    ["qcow2", "no header", Buffer.alloc(4096, 7)],
    ["qcow2", "a backing file", qcow2Header({ backingFile: "/etc/passwd", backingFormat: "raw" })],
    ["qcow2", "a data file", qcow2Header({ dataFile: "json:{}", incompatible: 4n })],
    ["qcow2", "encryption", qcow2Header({ cryptMethod: 1 })],
    ["qcow2", "a mark of damage", qcow2Header({ incompatible: 2n })],
    ["qcow2", "no size", qcow2Header({ virtualSizeBytes: 0 })],
    ["qcow2", "an enormous size", qcow2Header({ virtualSizeBytes: 2n ** 52n })],
    ["iso", "no volume descriptor", Buffer.alloc(40_000)],
    ["vdi", "no signature", Buffer.alloc(512)],
    ["vhdx", "no signature", Buffer.alloc(512)],
    ["vhd", "no footer", Buffer.alloc(1024)],
    ["vhd", "a parent", vhd(4)],
    [
      "vmdk",
      "only a descriptor",
      Buffer.from('# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW 1 FLAT "/etc/passwd" 0\n'),
    ],
    ["vmdk", "several files", vmdk("twoGbMaxExtentSparse")],
    ["vmdk", "a parent", vmdk('monolithicSparse"\nparentFileNameHint="/etc/passwd')],
    ["raw", "nothing", Buffer.alloc(0)],
    ["raw", "an enormous size", "huge"],
  ] as const)("never lets qemu-img see a %s image with %s", (format, _what, bytes) =>
    inStore(
      async ({ store, source, directory, qemuImg }) => {
        await writeFile(source, bytes === "huge" ? "" : bytes);
        if (bytes === "huge") await truncate(source, 2 * 1024 ** 3);
        const limited = new DirectoryImageStore({ directory, commands: qemuImg, maxVirtualSizeBytes: 1024 ** 3 });
        const importing = (bytes === "huge" ? limited : store).import({ id: "a", format, path: source });
        await expect(importing).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
        expect(qemuImg.calls).toEqual([]);
        expect(await store.list()).toEqual([]);
      },
      { maxVirtualSizeBytes: 2 ** 50 },
    ),
  );

  it("refuses what qemu-img finds damaged, and what it can't open", () =>
    inStore(async ({ store, source, qemuImg }) => {
      qemuImg.sound = false;
      await expect(store.import({ id: "a", format: "qcow2", path: source })).rejects.toMatchObject({
        code: "IMAGE_UNACCEPTABLE",
      });
      qemuImg.before = (words) => {
        throw failure(["qemu-img", ...words], 1);
      };
      await expect(store.import({ id: "a", format: "qcow2", path: source })).rejects.toMatchObject({
        code: "IMAGE_UNACCEPTABLE",
      });
    }));

  it("looks at images under limits, and says what to install when qemu-img is missing", () =>
    inStore(async ({ store, source, qemuImg }) => {
      await store.import({ id: "a", format: "qcow2", path: source });
      for (const limits of qemuImg.limits) {
        expect(limits[0]).toBe("prlimit");
        expect(limits).toEqual(
          expect.arrayContaining([expect.stringMatching(/^--as=\d+$/), expect.stringMatching(/^--cpu=\d+$/)]),
        );
      }
      qemuImg.installed = false;
      const failed = store.import({ id: "b", format: "qcow2", path: source });
      await expect(failed).rejects.toMatchObject({
        code: "COMMAND_NOT_FOUND",
        remedy: expect.stringContaining("qemu-utils") as string,
      });
    }));

  it("takes a raw image for raw, whatever its bytes look like", () =>
    inStore(async ({ store, source, qemuImg }) => {
      await writeFile(source, qcow2Header({ backingFile: "/etc/passwd", backingFormat: "raw" }));
      const image = await store.import({ id: "a", format: "raw", path: source });
      expect(image.virtualSizeBytes).toBe(512);
      expect(qemuImg.calls).toEqual([]);
      expect(await store.fetch("a")).toMatchObject({ format: "raw" });
    }));

  it("leaves nothing when it is aborted", () =>
    inStore(async ({ store, source, directory, qemuImg }) => {
      const controller = new AbortController();
      qemuImg.before = () => controller.abort();
      await expect(
        store.import({ id: "a", format: "qcow2", path: source }, { signal: controller.signal }),
      ).rejects.toThrow();
      expect(await tree(directory)).toEqual([".staging/"]);
    }));

  it("sweeps what a process that died had begun, and leaves the work of living ones", () =>
    inStore(async ({ store, source, directory }) => {
      const bootId = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
      await store.import({ id: "a", format: "qcow2", path: source });
      const dead = join(directory, ".staging", `${bootId}.0.4194303.1.0123456789abcdef`);
      const foreign = join(directory, ".staging", "00000000-0000-0000-0000-000000000000.1.1.1.0123456789abcdef");
      for (const path of [dead, foreign]) await mkdir(path);
      await store.import({ id: "b", format: "qcow2", path: source });
      expect((await tree(directory)).filter((line) => line.startsWith(".staging/0"))).toHaveLength(1);
      await utimes(foreign, 1, 1);
      await store.import({ id: "c", format: "qcow2", path: source });
      expect((await tree(directory)).filter((line) => line.startsWith(".staging/0"))).toEqual([]);
    }));
});

describe("the records of images", () => {
  it("are all listed; an unknown id is not found", () =>
    inStore(async ({ store, source }) => {
      for (const id of ["b", "a"]) await store.import({ id, format: "qcow2", path: source });
      expect((await store.list()).map(({ id }) => id)).toEqual(["a", "b"]);
      await expect(store.describe("c")).rejects.toMatchObject({ code: "IMAGE_NOT_FOUND" });
      await expect(store.fetch("c")).rejects.toMatchObject({ code: "IMAGE_NOT_FOUND" });
      expect(await store.isCached("c")).toBe(false);
    }));

  it.each(["", "{", "[]", '{"version":2}', '{"version":1,"metadata":{"id":"a","format":"qcow2"}}'])(
    "that read %j are corrupt",
    (text) =>
      inStore(async ({ store, source, directory }) => {
        await store.import({ id: "a", format: "qcow2", path: source });
        await writeFile(join(directory, "a", "image.json"), text);
        await expect(store.describe("a")).rejects.toMatchObject({ code: "STATE_CORRUPT" });
      }),
  );
});

describe("fetching an image", () => {
  it("gives one file to all callers without taking its space again", () =>
    inStore(async ({ store, other, source, directory }) => {
      await store.import({ id: "a", format: "qcow2", path: source });
      expect(await store.isCached("a")).toBe(false);
      const images = await Promise.all([store.fetch("a"), store.fetch("a"), other.fetch("a")]);
      expect(new Set(images.map(({ path }) => path)).size).toBe(1);
      expect(images[0]).toMatchObject({ id: "a", format: "qcow2", virtualSizeBytes: 1024 * 1024 });
      expect(await store.isCached("a")).toBe(true);
      const [original, cached] = await Promise.all([
        stat(join(directory, "a", "image.qcow2")),
        stat(images[0]?.path ?? ""),
      ]);
      expect(cached.ino).toBe(original.ino);
    }));

  it("refuses bytes that were cut short behind its back, and a record without bytes", () =>
    inStore(async ({ store, source, directory }) => {
      await store.import({ id: "a", format: "qcow2", path: source });
      await truncate(join(directory, "a", "image.qcow2"), 100);
      await expect(store.fetch("a")).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
      await unlink(join(directory, "a", "image.qcow2"));
      await expect(store.fetch("a")).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
      expect(await store.isCached("a")).toBe(false);
    }));
});

describe("deleting and ageing images", () => {
  it("keeps what guests' disks stand on when the image is deleted or imported anew", () =>
    inStore(async ({ store, source }) => {
      await store.import({ id: "a", format: "qcow2", path: source });
      const old = await store.fetch("a");
      const bytes = await readFile(old.path);
      await store.delete("a");
      await store.delete("a");
      await expect(store.describe("a")).rejects.toMatchObject({ code: "IMAGE_NOT_FOUND" });
      await makeImage(source, ["another system"]);
      await store.import({ id: "a", format: "qcow2", path: source });
      expect((await store.fetch("a")).path).not.toBe(old.path);
      expect((await readFile(old.path)).equals(bytes)).toBe(true);
    }));

  it("drops what nobody has used for the time, and nothing that is in use", () =>
    inStore(async ({ store, source, clock }) => {
      for (const id of ["old", "used", "young"]) await store.import({ id, format: "qcow2", path: source });
      await store.fetch("old");
      await store.fetch("used");
      await clock.tick(60_000);
      await store.fetch("young");
      await clock.tick(30_000);
      expect(await store.ageCache(new Set(["used"]), 60_000)).toEqual(["old"]);
      expect([await store.isCached("old"), await store.isCached("used"), await store.isCached("young")]).toEqual([
        false,
        true,
        true,
      ]);
      await store.fetch("old");
      expect(await store.ageCache(new Set(), 60_000)).toEqual(["used"]);
    }));

  it("lets two processes fetch and age one image at once", () =>
    inStore(async ({ store, other, source, clock }) => {
      await store.import({ id: "a", format: "qcow2", path: source });
      for (let round = 0; round < 20; round++) {
        await clock.tick(10_000);
        const [image] = await Promise.all([store.fetch("a"), other.ageCache(new Set(), 5_000)]);
        expect((await stat(image.path)).size).toBeGreaterThan(0);
      }
    }));

  it("refuses an age that is none", () =>
    inStore(async ({ store }) => {
      await expect(store.ageCache(new Set(), -1)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }));
});

function vhd(type: number): Buffer {
  const footer = Buffer.alloc(512);
  footer.write("conectix");
  footer.writeUInt32BE(type, 60);
  return footer;
}

function vmdk(createType: string): Buffer {
  const header = Buffer.alloc(1024);
  header.write("KDMV");
  header.writeBigUInt64LE(2048n, 12);
  header.writeBigUInt64LE(1n, 28);
  header.writeBigUInt64LE(1n, 36);
  header.write(`# Disk DescriptorFile\ncreateType="${createType}"\n`, 512);
  return header;
}

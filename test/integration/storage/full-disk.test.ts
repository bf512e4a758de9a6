import { join } from "node:path";
import { createReadStream } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { Secret } from "../../../src/core/index.js";
import { DirectoryImageStore, LocalDiskBackend, LuksFormat, MemorySecretStore } from "../../../src/storage/index.js";
import type { EncryptedSource, LocalImage } from "../../../src/storage/index.js";
import { requirePackages, run, withTemporaryDirectory } from "../../lab/index.js";
import { ImageServer } from "../../unit/storage/support/image-server.js";
import { tree } from "../../unit/storage/support/tree.js";
import { fill, guestView, makeImage, MIB, withSmallFileSystem, writeBytes } from "./support.js";

const UUID = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";

interface World {
  /** On a file system of 3 MiB. */
  readonly small: string;
  readonly disks: LocalDiskBackend;
  readonly image: LocalImage;
  readonly rawImage: LocalImage;
}

/** A small file system for disks; their images are elsewhere. */
function onSmallDisk(test: (world: World) => Promise<void>): Promise<void> {
  return withTemporaryDirectory(({ path: root }) =>
    withSmallFileSystem(3 * MIB, async (small) => {
      await makeImage(join(root, "image"), "qcow2", 7);
      await makeImage(join(root, "raw"), "raw", 7);
      // More than fits.
      await writeBytes(join(root, "raw"), "raw", 9, 0, 4 * MIB);
      await writeBytes(join(root, "image"), "qcow2", 9, 0, 4 * MIB);
      await test({
        small,
        disks: new LocalDiskBackend({ directory: join(small, "disks") }),
        image: { id: "image", path: join(root, "image"), format: "qcow2", virtualSizeBytes: 4 * MIB },
        rawImage: { id: "raw", path: join(root, "raw"), format: "raw", virtualSizeBytes: 4 * MIB },
      });
    }),
  );
}

beforeAll(() => requirePackages("qemu-img"));

describe.runIf(process.getuid?.() === 0)("on a full disk", () => {
  it.each([
    ["a copy of a raw image", "raw", "rawImage"],
    ["a conversion of another image", "raw", "image"],
  ] as const)("%s leaves nothing", (_what, format, which) =>
    onSmallDisk(async ({ small, disks, ...images }) => {
      await disks.create({ instanceUuid: UUID, name: "swap", sizeBytes: MIB });
      const before = await tree(small);
      const creating = disks.create({
        instanceUuid: UUID,
        name: "root",
        sizeBytes: 4 * MIB,
        image: images[which],
        format,
      });
      await expect(creating).rejects.toMatchObject({
        code: "DISK_FULL",
        retryable: true,
        device: "root",
        instance: { uuid: UUID },
      });
      expect(await tree(small)).toEqual(before);
    }),
  );

  it.each(["overlay", "empty"] as const)("not even an %s disk can be made, and nothing is left of it", (kind) =>
    onSmallDisk(async ({ small, disks, image }) => {
      await mkdir(join(small, "disks"));
      const empty = await fill(small);
      const before = await tree(small);
      const creating = disks.create({
        instanceUuid: UUID,
        name: "root",
        sizeBytes: 4 * MIB,
        ...(kind === "overlay" ? { image } : {}),
      });
      await expect(creating).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(await tree(small)).toEqual(before);
      await empty();
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 4 * MIB, image });
    }),
  );

  it("importing an image leaves nothing of it", () =>
    onSmallDisk(async ({ small, image }) => {
      const store = new DirectoryImageStore({ directory: join(small, "images") });
      await expect(store.import({ id: "image", format: "qcow2", path: image.path })).rejects.toMatchObject({
        code: "DISK_FULL",
      });
      expect((await tree(small)).filter((line) => !line.endsWith("/"))).toEqual([]);
      expect(await store.list()).toEqual([]);
    }));

  it.each(["a stream", "a URL", "a URL, though what comes is to be kept"])("importing from %s leaves nothing", (kind) =>
    onSmallDisk(async ({ small, rawImage }) => {
      const store = new DirectoryImageStore({ directory: join(small, "images") });
      const bytes = Buffer.alloc(8 * MIB, 9);
      await using server = await ImageServer.start(bytes);
      const http = kind === "a URL" ? {} : { keepPartialMs: 60_000 };
      const source = kind === "a stream" ? { stream: createReadStream(rawImage.path) } : { url: server.url, http };
      await expect(store.import({ id: "image", format: "raw", ...source })).rejects.toMatchObject({
        code: "DISK_FULL",
      });
      expect((await tree(small)).filter((line) => !line.endsWith("/"))).toEqual([]);
    }),
  );

  it("fetching an image into the cache leaves nothing", () =>
    onSmallDisk(async ({ small, rawImage }) => {
      const directory = join(rawImage.path, "../images");
      const store = new DirectoryImageStore({ directory, cacheDirectory: join(small, "cache") });
      await store.import({ id: "image", format: "raw", path: rawImage.path });
      await expect(store.fetch("image")).rejects.toMatchObject({ code: "DISK_FULL" });
      expect((await tree(small)).filter((line) => !line.endsWith("/"))).toEqual([]);
      expect(await store.isCached("image")).toBe(false);
    }));

  it.each([
    ["falloc", "overlay", "qcow2"],
    ["full", "overlay", "qcow2"],
    ["falloc", "flat", "qcow2"],
    ["falloc", "flat", "raw"],
    ["full", "flat", "raw"],
  ] as const)("a disk of preallocated space (%s, %s, %s) is refused, and one that fits can't grow", (...style) =>
    onSmallDisk(async ({ small }) => {
      const [preallocation, layout, defaultFormat] = style;
      const directory = join(small, "disks");
      const disks = new LocalDiskBackend({ directory, preallocation, layout, defaultFormat });
      const path = join(small, "..", `${preallocation}-${layout}-${defaultFormat}`);
      await run(["qemu-img", "create", "-q", "-f", "qcow2", path, String(MIB)]);
      const image: LocalImage = { id: "image", path, format: "qcow2", virtualSizeBytes: MIB };
      try {
        await disks.create({ instanceUuid: UUID, name: "swap", sizeBytes: MIB, image });
        const before = await tree(small);
        const root = { instanceUuid: UUID, name: "root", sizeBytes: 16 * MIB, image };
        await expect(disks.create(root)).rejects.toMatchObject({ code: "DISK_FULL", device: "root" });
        expect(await tree(small)).toEqual(before);
        await expect(disks.resize(UUID, "swap", 16 * MIB)).rejects.toMatchObject({ code: "DISK_FULL", device: "swap" });
        const [disk] = await disks.list(UUID);
        expect(disk).toMatchObject({ name: "swap", virtualSizeBytes: MIB });
        expect(disk?.allocatedBytes).toBeLessThan(2 * MIB);
      } finally {
        await rm(path);
      }
    }),
  );

  it("a snapshot leaves nothing, and the disk is as it was", () =>
    onSmallDisk(async ({ small, disks, image }) => {
      const disk = (await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 4 * MIB, image })) as {
        path: string;
      };
      const path = await disks.temporaryPath("snapshot");
      const [before, bytes] = [await tree(small), await guestView(disk.path, "qcow2")];
      await expect(disks.exportDisk(UUID, "root", path, "raw")).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(await tree(small)).toEqual(before);
      expect(await guestView(disk.path, "qcow2")).toBe(bytes);
    }));

  it.each(["qcow2", "raw"] as const)(
    "parking %s disks changes nothing, and what is parked can be gone back to",
    (format) =>
      onSmallDisk(async ({ small, disks }) => {
        const disk = (await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 4 * MIB, format })) as {
          path: string;
        };
        await writeBytes(disk.path, format, 5, 0, 64 * 1024);
        const parked = await guestView(disk.path, format);
        await disks.park(UUID, "a");
        await writeBytes(disk.path, format, 6, 64 * 1024, 64 * 1024);
        const later = await guestView(disk.path, format);
        const empty = await fill(small);
        const before = await tree(small);
        await expect(disks.park(UUID, "b")).rejects.toMatchObject({ code: "DISK_FULL" });
        expect(await tree(small)).toEqual(before);
        expect(await guestView(disk.path, format)).toBe(later);
        await empty();
        await disks.park(UUID, "b");
        await disks.restore(UUID, "a");
        expect(await guestView(disk.path, format)).toBe(parked);
      }),
  );

  it.each([
    ["raw", MIB / 8],
    ["qcow2", MIB],
  ] as const)("an encrypted volume in a %s file leaves nothing", (format, freeBytes) =>
    onSmallDisk(async ({ small }) => {
      const secrets = new MemorySecretStore();
      await secrets.put("key", Secret.of("passphrase of the volume"));
      const before = await tree(small);
      const encryption = { format: "luks", secretId: "key" } as const;
      const source: EncryptedSource = { type: "file", path: join(small, "volume"), format, encryption };
      await writeFile(join(small, "other"), Buffer.alloc(3 * MIB - freeBytes, 1));
      const making = new LuksFormat({ secrets }).format(source, { sizeBytes: 8 * MIB, iterationMs: 10 });
      await expect(making).rejects.toMatchObject({ code: "DISK_FULL" });
      await rm(join(small, "other"));
      expect(await tree(small)).toEqual(before);
    }),
  );

  it("disks can be removed", () =>
    onSmallDisk(async ({ small, disks, image }) => {
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 4 * MIB, image });
      await disks.park(UUID, "a");
      await fill(small);
      expect(await disks.removeAll(UUID)).toBe(true);
      expect(await disks.listInstances()).toEqual([]);
    }));

  it("a disk that can't be written for another reason is not called full", () =>
    onSmallDisk(async ({ small, disks, image }) => {
      await mkdir(join(small, "disks"));
      await run(["mount", "-o", "remount,ro", small]);
      const creating = disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 4 * MIB, image });
      await expect(creating).rejects.toMatchObject({ code: "STORAGE_FAILED", errno: "EROFS" });
    }));
});

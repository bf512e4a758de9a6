import { open, readdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { DirectoryImageStore, LocalDiskBackend } from "../../../src/storage/index.js";
import type { ImageFormat, LocalImage } from "../../../src/storage/index.js";
import { requirePackages, run, withTemporaryDirectory } from "../../lab/index.js";
import { guestView, makeImage, MIB, withSmallFileSystem } from "./support.js";

const UUID = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";

interface World {
  readonly root: string;
  readonly source: string;
  readonly store: DirectoryImageStore;
  readonly disks: LocalDiskBackend;
}

function inStore(test: (world: World) => Promise<void>): Promise<void> {
  return withTemporaryDirectory(({ path: root }) =>
    test({
      root,
      source: join(root, "source"),
      store: new DirectoryImageStore({ directory: join(root, "images"), maxVirtualSizeBytes: 2 ** 40 }),
      disks: new LocalDiskBackend({ directory: join(root, "disks") }),
    }),
  );
}

beforeAll(() => requirePackages("qemu-img"));

describe("an image of a format", () => {
  it.each([
    ["raw", "raw", []],
    ["qcow2", "qcow2", []],
    ["qcow2", "qcow2", ["-o", "compat=0.10"]],
    ["qcow2", "qcow2", ["-o", "extended_l2=on,cluster_size=16k"]],
    ["vmdk", "vmdk", []],
    ["vdi", "vdi", []],
    ["vhd", "vpc", ["-o", "force_size=on"]],
    ["vhdx", "vhdx", []],
  ] as const)("%s (%s %j) becomes disks that show its bytes", (format, qemuFormat, options) =>
    inStore(async ({ source, store, disks }) => {
      await makeImage(source, qemuFormat, 7, options);
      const bytes = await guestView(source, qemuFormat);
      await store.import({ id: "image", format, path: source });
      const image = await store.fetch("image");
      expect(image.virtualSizeBytes).toBe(4 * MIB);
      for (const diskFormat of ["qcow2", "raw"] as const) {
        const disk = await disks.create({
          instanceUuid: UUID,
          name: diskFormat,
          sizeBytes: 4 * MIB,
          image,
          format: diskFormat,
        });
        expect(await guestView((disk as { path: string }).path, diskFormat)).toBe(bytes);
      }
    }),
  );

  it("may be a compressed stream of VMware's", () =>
    inStore(async ({ root, source, store, disks }) => {
      await makeImage(join(root, "raw"), "raw", 9);
      await run([
        "qemu-img",
        "convert",
        "-f",
        "raw",
        "-O",
        "vmdk",
        "-o",
        "subformat=streamOptimized",
        join(root, "raw"),
        source,
      ]);
      await store.import({ id: "image", format: "vmdk", path: source });
      const image = await store.fetch("image");
      const disk = await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 8 * MIB, image });
      const [info] = await disks.list(UUID);
      expect(info).toMatchObject({ virtualSizeBytes: 8 * MIB });
      expect(info?.backingFile).toBeUndefined();
      await truncate(join(root, "raw"), 8 * MIB);
      expect(await guestView((disk as { path: string }).path, "qcow2")).toBe(await guestView(join(root, "raw"), "raw"));
    }));
});

describe("an image that is not to be trusted", () => {
  const cases: readonly [string, ImageFormat, (source: string, root: string) => Promise<void>][] = [
    [
      "was cut short",
      "qcow2",
      async (source) => {
        await makeImage(source, "qcow2", 7);
        await truncate(source, 400 * 1024);
      },
    ],
    ...(["vmdk", "vdi", "vhdx"] as const).map((format): [string, ImageFormat, (source: string) => Promise<void>] => [
      "was cut short",
      format,
      async (source) => {
        await makeImage(source, format, 7);
        await truncate(source, (await stat(source)).size - 200 * 1024);
      },
    ]),
    [
      "was cut short",
      "vhd",
      async (source) => {
        await makeImage(source, "vpc", 7);
        await truncate(source, (await stat(source)).size - 200 * 1024);
      },
    ],
    ...(["vdi", "vhdx", "vmdk"] as const).map((format): [string, ImageFormat, (source: string) => Promise<void>] => [
      "is larger than any disk",
      format,
      (source) => run(["qemu-img", "create", "-q", "-f", format, source, String(2 ** 41)]).then(() => undefined),
    ]),
    [
      "has a damaged table",
      "qcow2",
      async (source) => {
        await makeImage(source, "qcow2", 7);
        const file = await open(source, "r+");
        const { buffer } = await file.read(Buffer.alloc(8), 0, 8, 40);
        await file.write(Buffer.from("0123456789abcdef"), 0, 16, Number(buffer.readBigUInt64BE(0)));
        await file.close();
      },
    ],
    [
      "is larger than any disk",
      "qcow2",
      async (source) => {
        await run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", source, String(2 ** 50)]);
      },
    ],
    [
      "has a backing file",
      "qcow2",
      async (source, root) => {
        await makeImage(join(root, "secret"), "raw", 1);
        await run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", join(root, "secret"), "-F", "raw", source]);
      },
    ],
    [
      "has itself for a backing file",
      "qcow2",
      async (source) => {
        await makeImage(source, "qcow2", 7);
        await run(["qemu-img", "rebase", "-u", "-f", "qcow2", "-b", source, "-F", "qcow2", source]);
      },
    ],
    [
      "keeps its data in another file",
      "qcow2",
      async (source, root) => {
        await run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", `data_file=${join(root, "secret")}`, source, "4M"]);
      },
    ],
    [
      "is encrypted",
      "qcow2",
      async (source) => {
        const secret = [
          "--object",
          "secret,id=s,data=geheim",
          "-o",
          "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
        ];
        // LUKS may fail to measure the machine: it is asked again.
        const create = (): Promise<string> => run(["qemu-img", "create", "-q", "-f", "qcow2", ...secret, source, "4M"]);
        await create().catch(create).catch(create);
      },
    ],
    ["is of another format", "qcow2", (source) => makeImage(source, "vdi", 7)],
    [
      "is a text that names another file",
      "vmdk",
      async (source, root) => {
        await run([
          "qemu-img",
          "create",
          "-q",
          "-f",
          "vmdk",
          "-o",
          "subformat=monolithicFlat",
          join(root, "flat.vmdk"),
          "4M",
        ]);
        await writeFile(source, await readFile(join(root, "flat.vmdk")));
      },
    ],
    [
      "has a parent",
      "vmdk",
      async (source, root) => {
        await makeImage(join(root, "parent.vmdk"), "vmdk", 7);
        await run(["qemu-img", "create", "-q", "-f", "vmdk", "-b", join(root, "parent.vmdk"), "-F", "vmdk", source]);
      },
    ],
  ];

  it.each(cases)("because it %s is refused and not kept (%s)", (_what, format, make) =>
    inStore(async ({ source, root, store }) => {
      await make(source, root);
      await expect(store.import({ id: "image", format, path: source })).rejects.toMatchObject({
        code: "IMAGE_UNACCEPTABLE",
      });
      expect(await store.list()).toEqual([]);
    }),
  );

  it("shows a guest no file of the host, when it is raw and its bytes are a qcow2 header", () =>
    inStore(async ({ source, root, store, disks }) => {
      await writeFile(join(root, "secret"), Buffer.alloc(4 * MIB, "secret"));
      await run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", join(root, "secret"), "-F", "raw", source]);
      await store.import({ id: "image", format: "raw", path: source });
      const image = await store.fetch("image");
      for (const format of ["qcow2", "raw"] as const) {
        const disk = await disks.create({ instanceUuid: UUID, name: format, sizeBytes: MIB, image, format });
        const out = await disks.temporaryPath(format);
        await disks.exportDisk(UUID, format, out, "raw");
        const bytes = await readFile(out);
        expect(bytes.subarray(0, 4).toString("latin1")).toBe("QFI\xfb");
        expect(bytes.includes("secretsecret")).toBe(false);
        expect((disk as { format: string }).format).toBe(format);
      }
    }));
});

describe("the conversion of an image", () => {
  /** 64 MiB that take their time. */
  async function vmdkImage(root: string): Promise<LocalImage> {
    const image = { id: "image", path: join(root, "large.vmdk"), format: "vmdk", virtualSizeBytes: 64 * MIB } as const;
    await run(["qemu-img", "create", "-q", "-f", "vmdk", image.path, String(image.virtualSizeBytes)]);
    await run(["qemu-io", "-f", "vmdk", "-c", "write -P 7 0 32M", image.path]);
    return image;
  }

  it("tells its progress, and ends at once when it is aborted, with nothing left", () =>
    inStore(async ({ root, disks }) => {
      const image = await vmdkImage(root);
      const progress: number[] = [];
      await disks.create(
        { instanceUuid: UUID, name: "whole", sizeBytes: 64 * MIB, image },
        { onProgress: ({ bytesDone, bytesTotal }) => progress.push(bytesDone / (bytesTotal ?? 0)) },
      );
      expect(progress.at(-1)).toBe(1);
      expect(progress).toEqual([...progress].sort((a, b) => a - b));
      const controller = new AbortController();
      const creating = disks.create(
        { instanceUuid: UUID, name: "aborted", sizeBytes: 64 * MIB, image },
        { signal: controller.signal, onProgress: () => controller.abort() },
      );
      await expect(creating).rejects.toMatchObject({ code: "ABORTED" });
      expect((await readdir(join(root, "disks", UUID))).sort()).toEqual(["disks.json", "whole.qcow2"]);
    }));

  it.each([
    ["address space", { addressSpaceBytes: 16 * MIB }],
    ["time", { copyMs: 1 }],
  ])("ends when it needs more %s than it is given, with nothing left", (_what, qemuImgLimits) =>
    inStore(async ({ root }) => {
      const image = await vmdkImage(root);
      await run(["truncate", "-s", "64M", join(root, "raw")]);
      const raw: LocalImage = { ...image, path: join(root, "raw"), format: "raw" };
      const disks = new LocalDiskBackend({ directory: join(root, "disks"), layout: "flat", qemuImgLimits });
      const creating = disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 64 * MIB, image: raw });
      await expect(creating).rejects.toMatchObject({
        code: expect.stringMatching(/^(STORAGE_FAILED|DEADLINE_EXCEEDED|IMAGE_UNACCEPTABLE)$/) as string,
      });
      expect(await readdir(join(root, "disks"))).toEqual([]);
    }),
  );

  it("never writes more than the image says, whatever its record says", () =>
    inStore(async ({ root, disks }) => {
      const image = { ...(await vmdkImage(root)), virtualSizeBytes: MIB };
      const creating = disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 2 * MIB, image });
      await expect(creating).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
      expect(await readdir(join(root, "disks"))).toEqual([]);
    }));
});

describe.runIf(process.getuid?.() === 0)("a store on two file systems", () => {
  it("copies images into a cache that can't be linked to, and refuses altered ones", () =>
    inStore(async ({ root, source }) =>
      withSmallFileSystem(16 * MIB, async (cacheDirectory) => {
        await makeImage(source, "qcow2", 7);
        const store = new DirectoryImageStore({ directory: join(root, "images"), cacheDirectory });
        await store.import({ id: "image", format: "qcow2", path: source });
        const progress: number[] = [];
        const image = await store.fetch("image", { onProgress: ({ bytesDone }) => progress.push(bytesDone) });
        expect(image.path.startsWith(cacheDirectory)).toBe(true);
        expect(await guestView(image.path, "qcow2")).toBe(await guestView(source, "qcow2"));
        expect(progress.at(-1)).toBe((await stat(source)).size);
        await store.import({ id: "altered", format: "qcow2", path: source });
        const file = await open(join(root, "images", "altered", "image.qcow2"), "r+");
        await file.write(Buffer.from("x"), 0, 1, 500_000);
        await file.close();
        await expect(store.fetch("altered")).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
      }),
    ));
});

import { access, mkdir, readdir, readFile, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { LocalDiskBackend } from "../../../src/storage/index.js";
import type { LocalDiskBackendOptions, LocalImage } from "../../../src/storage/index.js";
import { contentOf, failure, FakeQemuImg, guestWrites, makeImage } from "./support/fake-qemu-img.js";
import { qcow2Header } from "./support/qcow2-bytes.js";
import { Steps } from "./support/steps.js";
import { inDirectory, tree } from "./support/tree.js";

const UUID = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";
const OTHER = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b002";
const MIB = 1024 * 1024;

interface World {
  readonly directory: string;
  readonly disks: LocalDiskBackend;
  readonly qemuImg: FakeQemuImg;
  readonly image: LocalImage;
  readonly rawImage: LocalImage;
}

function inBackend(test: (world: World) => Promise<void>): Promise<void> {
  return inDirectory(async (root) => {
    const directory = join(root, "disks");
    const qemuImg = new FakeQemuImg();
    const [path, rawPath] = [join(root, "image"), join(root, "raw-image")];
    await makeImage(path, ["system"]);
    await writeFile(rawPath, "system\n");
    await truncate(rawPath, MIB);
    await test({
      directory,
      disks: new LocalDiskBackend({ directory, commands: qemuImg }),
      qemuImg,
      image: { id: "image", path, format: "qcow2", virtualSizeBytes: MIB },
      rawImage: { id: "raw", path: rawPath, format: "raw", virtualSizeBytes: MIB },
    });
  });
}

describe("creating a disk", () => {
  it("makes an overlay that names the image's format, and no more", () =>
    inBackend(async ({ disks, qemuImg, image, directory }) => {
      const source = await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 4 * MIB, image });
      const path = join(directory, UUID, "root.qcow2");
      expect(source).toEqual({ type: "file", path, format: "qcow2" });
      expect(qemuImg.calls).toEqual([
        ["create", "-q", "-f", "qcow2", "-b", image.path, "-F", "qcow2", `${path}.unfinished`, String(4 * MIB)],
      ]);
      expect(await contentOf(path)).toEqual(["system"]);
      expect(await tree(directory)).toEqual([
        `${UUID}/`,
        expect.stringContaining(`${UUID}/disks.json`),
        expect.stringContaining(`${UUID}/root.qcow2`),
      ]);
      expect((await stat(join(directory, UUID))).mode & 0o777).toBe(0o700);
      expect((await stat(join(directory, UUID, "disks.json"))).mode & 0o777).toBe(0o600);
    }));

  it.each([
    ["flat", "none", "qcow2", ["convert -p -f qcow2 -O qcow2 IMAGE DISK", "resize -q -f qcow2 DISK 4194304"]],
    [
      "overlay",
      "falloc",
      "qcow2",
      [
        "create -q -f qcow2 -b IMAGE -F qcow2 DISK 4194304",
        "fallocate --keep-size --length 4194304 DISK",
        "fallocate --keep-size --length 8388608 DONE",
        "resize -q -f qcow2 DONE 8388608",
      ],
    ],
    [
      "flat",
      "full",
      "qcow2",
      [
        "convert -p -f qcow2 -O qcow2 -o preallocation=full IMAGE DISK",
        "resize -q -f qcow2 --preallocation=full DISK 4194304",
        "resize -q -f qcow2 --preallocation=full DONE 8388608",
      ],
    ],
    [
      "overlay",
      "falloc",
      "raw",
      [
        "convert -p -f qcow2 -O raw -o preallocation=falloc IMAGE DISK",
        "resize -q -f raw --preallocation=falloc DISK 4194304",
        "resize -q -f raw --preallocation=falloc DONE 8388608",
      ],
    ],
  ] as const)("makes and grows disks as it is told to: %s, %s, %s", (layout, preallocation, defaultFormat, expected) =>
    inBackend(async ({ qemuImg, image, directory }) => {
      const disks = new LocalDiskBackend({ directory, commands: qemuImg, layout, preallocation, defaultFormat });
      const source = await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 4 * MIB, image });
      const { path } = source as { path: string };
      await disks.resize(UUID, "root", 8 * MIB);
      const said = qemuImg.calls
        .map((words) => words.join(" ").replace(image.path, "IMAGE"))
        .map((line) => line.replace(`${path}.unfinished`, "DISK").replace(path, "DONE"))
        .filter((line) => !line.startsWith("info"));
      expect(said.slice(0, expected.length)).toEqual(expected);
      expect(await contentOf(path, defaultFormat)).toEqual(["system"]);
      expect((await disks.list(UUID))[0]?.backingFile).toBe(
        layout === "overlay" && defaultFormat === "qcow2" ? image.path : undefined,
      );
    }),
  );

  it("makes a disk that needs its image no more, where one is asked for", () =>
    inBackend(async ({ disks, image }) => {
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image, layout: "flat" });
      expect((await disks.list(UUID))[0]).not.toHaveProperty("backingFile");
      for (const change of [{ layout: "thick" }, { preallocation: "some" }] as const) {
        const options = { directory: "/tmp", ...change } as unknown as LocalDiskBackendOptions;
        expect(() => new LocalDiskBackend(options)).toThrow(
          expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error,
        );
      }
    }));

  it("opens a raw image as raw, whatever its bytes are", () =>
    inBackend(async ({ disks, qemuImg, rawImage }) => {
      await writeFile(rawImage.path, qcow2Header({ backingFile: "/etc/passwd" }));
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image: rawImage });
      expect(qemuImg.calls[0]).toEqual(expect.arrayContaining(["-b", rawImage.path, "-F", "raw"]));
    }));

  it("makes empty disks, raw copies and flat copies of other formats", () =>
    inBackend(async ({ disks, qemuImg, image, rawImage }) => {
      const progress: number[] = [];
      const create = disks.create.bind(disks);
      const empty = await create({ instanceUuid: UUID, name: "ephemeral0", sizeBytes: 1000, format: "raw" });
      const copy = await create({
        instanceUuid: UUID,
        name: "copy",
        sizeBytes: 2 * MIB,
        image: rawImage,
        format: "raw",
      });
      const flat = await create(
        { instanceUuid: UUID, name: "flat", sizeBytes: 2 * MIB, image, format: "raw" },
        { onProgress: ({ bytesDone }) => progress.push(bytesDone) },
      );
      const vdi: LocalImage = { ...rawImage, path: `${rawImage.path}.vdi`, format: "vdi" };
      const dynamic = Buffer.alloc(0x50);
      dynamic.writeUInt32LE(0xbeda107f, 0x40);
      dynamic.writeUInt32LE(1, 0x4c);
      await writeFile(vdi.path, dynamic);
      await truncate(vdi.path, MIB);
      await create({ instanceUuid: UUID, name: "vdi", sizeBytes: MIB, image: vdi });
      const sizes = Object.fromEntries((await disks.list(UUID)).map((disk) => [disk.name, disk.virtualSizeBytes]));
      expect(sizes).toEqual({ ephemeral0: 1024, copy: 2 * MIB, flat: 2 * MIB, vdi: MIB });
      expect(
        await Promise.all([empty, copy, flat].map((source) => contentOf((source as { path: string }).path, "raw"))),
      ).toEqual([[], ["system"], ["system"]]);
      expect(progress).toEqual([MIB / 2]);
      expect(qemuImg.limits.some((limits) => limits.some((word) => word.startsWith("--fsize=")))).toBe(true);
    }));

  it("refuses a second disk of the name and keeps the first", () =>
    inBackend(async ({ disks, image, directory }) => {
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image });
      const before = await tree(directory);
      await expect(
        disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, format: "raw" }),
      ).rejects.toMatchObject({ code: "CONFLICT" });
      expect(await tree(directory)).toEqual(before);
    }));

  it.each([
    ["instanceUuid", { instanceUuid: "../x" }],
    ["instanceUuid", { instanceUuid: `${UUID}/..` }],
    ["name", { name: "../x" }],
    ["name", { name: "" }],
    ["name", { name: ".." }],
    ["name", { name: "Root" }],
    ["name", { name: "a,b=c" }],
    ["name", { name: "a\nb" }],
    ["name", { name: "x".repeat(65) }],
    ["sizeBytes", { sizeBytes: 0 }],
    ["sizeBytes", { sizeBytes: -5 }],
    ["sizeBytes", { sizeBytes: 1.5 }],
    ["sizeBytes", { sizeBytes: MIB - 512 }],
    ["format", { format: "vmdk" as "raw" }],
    ["image.format", { image: { id: "k", path: "/k", format: "aki" as const, virtualSizeBytes: 512 } }],
  ])("names the bad field %s of %o", (field, change) =>
    inBackend(async ({ disks, image, directory }) => {
      const request = { instanceUuid: UUID, name: "root", sizeBytes: MIB, image, ...change };
      await expect(disks.create(request)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field });
      await expect(access(directory)).rejects.toThrow();
    }),
  );

  it("refuses images that are not what their store says", () =>
    inBackend(async ({ disks, image, rawImage, directory }) => {
      for (const bad of [image, { ...rawImage, format: "vmdk" as const }, { ...rawImage, format: "qcow2" as const }]) {
        const creating = disks.create({
          instanceUuid: UUID,
          name: "root",
          sizeBytes: MIB / 2,
          image: { ...bad, virtualSizeBytes: 512 },
          format: "raw",
        });
        await expect(creating).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
      }
      expect(await tree(directory)).toEqual([]);
    }));

  it.each([{ backingFile: "/etc/passwd" }, { dataFile: "/etc/passwd", incompatible: 4n }])(
    "refuses an image of any store that refers to others: %o",
    (parts) =>
      inBackend(async ({ disks, image, directory, qemuImg }) => {
        await writeFile(image.path, qcow2Header(parts));
        for (const format of ["qcow2", "raw"] as const) {
          const creating = disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image, format });
          await expect(creating).rejects.toMatchObject({
            code: "IMAGE_UNACCEPTABLE",
            instance: { uuid: UUID },
            device: "root",
          });
        }
        expect(qemuImg.calls).toEqual([]);
        expect(await tree(directory)).toEqual([]);
      }),
  );

  it("leaves nothing when any of its steps fails", () =>
    inBackend(async ({ directory, qemuImg, image }) => {
      const whole = new Steps();
      await new LocalDiskBackend({ directory, files: whole.files, commands: whole.commands(qemuImg) }).create({
        instanceUuid: OTHER,
        name: "root",
        sizeBytes: MIB,
        image,
      });
      const before = await tree(directory);
      for (let failAt = 1; failAt <= whole.count; failAt++) {
        const steps = new Steps({ failAt }, () => failure(["qemu-img"], 1));
        const disks = new LocalDiskBackend({ directory, files: steps.files, commands: steps.commands(qemuImg) });
        await expect(disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image })).rejects.toMatchObject({
          code: "STORAGE_FAILED",
        });
        expect(await tree(directory), `after a failure of step ${failAt}`).toEqual(before);
      }
    }));

  it("leaves nothing when it is aborted", () =>
    inBackend(async ({ disks, directory, qemuImg, image }) => {
      const controller = new AbortController();
      qemuImg.before = () => controller.abort();
      await expect(
        disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image }, { signal: controller.signal }),
      ).rejects.toThrow();
      expect(await tree(directory)).toEqual([]);
    }));

  it("can be made again or removed when the process died before any of its steps", () =>
    inBackend(async ({ directory, qemuImg, image, disks }) => {
      const whole = new Steps();
      await new LocalDiskBackend({ directory, files: whole.files, commands: whole.commands(qemuImg) }).create({
        instanceUuid: OTHER,
        name: "root",
        sizeBytes: MIB,
        image,
      });
      await disks.removeAll(OTHER);
      for (let dieAt = 1; dieAt <= whole.count; dieAt++) {
        for (const next of ["create", "remove", "removeAll"] as const) {
          const steps = new Steps({ dieAt });
          const dying = new LocalDiskBackend({ directory, files: steps.files, commands: steps.commands(qemuImg) });
          await dying.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image }).catch(() => undefined);
          if (next === "removeAll") await disks.removeAll(UUID);
          else await disks.remove(UUID, "root");
          expect(await tree(directory), `${next} after step ${dieAt}`).toEqual([]);
          if (next === "create") await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image });
          await disks.removeAll(UUID);
        }
      }
    }));
});

describe("removing disks", () => {
  it("takes one disk, and with the last of them the instance's directory", () =>
    inBackend(async ({ disks, directory, image }) => {
      for (const name of ["root", "swap"]) await disks.create({ instanceUuid: UUID, name, sizeBytes: MIB, image });
      await disks.remove(UUID, "root");
      await disks.remove(UUID, "root");
      expect((await disks.list(UUID)).map(({ name }) => name)).toEqual(["swap"]);
      await disks.remove(UUID, "swap");
      expect(await readdir(directory)).toEqual([]);
      await disks.remove(UUID, "swap");
      await disks.remove(OTHER, "swap");
    }));

  it("takes all of an instance, also what a process that died left half-deleted", () =>
    inBackend(async ({ disks, directory, image }) => {
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image });
      await disks.create({ instanceUuid: OTHER, name: "root", sizeBytes: MIB, image });
      await mkdir(join(directory, `${UUID}.deleting`));
      await writeFile(join(directory, `${UUID}.deleting`, "root.qcow2"), "");
      expect(await disks.removeAll(UUID)).toBe(true);
      expect(await disks.removeAll(UUID)).toBe(true);
      expect(await readdir(directory)).toEqual([OTHER]);
      expect(await disks.listInstances()).toEqual([OTHER]);
    }));

  it("follows no link out of its directory", () =>
    inBackend(async ({ disks, directory, image }) => {
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image });
      await symlink(image.path, join(directory, UUID, "swap.raw"));
      await disks.remove(UUID, "swap");
      await symlink(join(directory, ".."), join(directory, UUID, "other"));
      await disks.removeAll(UUID);
      await access(image.path);
    }));
});

describe("describing disks", () => {
  it("tells sizes, the image below and what may still grow", () =>
    inBackend(async ({ disks, image, directory }) => {
      const source = await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 4 * MIB, image });
      const [disk] = await disks.list(UUID);
      const allocated = (await stat(join(directory, UUID, "root.qcow2"))).blocks * 512;
      expect(disk).toEqual({
        name: "root",
        source,
        virtualSizeBytes: 4 * MIB,
        allocatedBytes: allocated,
        backingFile: image.path,
        overCommittedBytes: 4 * MIB - allocated,
      });
      expect(await disks.list(OTHER)).toEqual([]);
    }));

  it("counts what all disks may still grow by against the free space", () =>
    inBackend(async ({ disks, image }) => {
      const before = await disks.capacity();
      const sizeBytes = 2 ** 50;
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes, image });
      const after = await disks.capacity();
      expect(after.totalBytes).toBe(before.totalBytes);
      expect(after.leastAvailableBytes).toBeLessThan(before.totalBytes - sizeBytes + MIB);
    }));

  it.each(["{", '{"version":1,"disks":{"../../etc":{"format":"raw"}},"parked":[],"nextParkId":1}', '{"version":9}'])(
    "does not trust a record of %j",
    (text) =>
      inBackend(async ({ disks, image, directory }) => {
        await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image });
        await writeFile(join(directory, UUID, "disks.json"), text);
        await expect(disks.list(UUID)).rejects.toMatchObject({ code: "STATE_CORRUPT" });
        await expect(disks.create({ instanceUuid: UUID, name: "swap", sizeBytes: MIB })).rejects.toMatchObject({
          code: "STATE_CORRUPT",
        });
        expect((await disks.capacity()).totalBytes).toBeGreaterThan(0);
        expect(await disks.removeAll(UUID)).toBe(true);
      }),
  );

  it("says so when a disk is gone", () =>
    inBackend(async ({ disks, image, directory }) => {
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image });
      await rm(join(directory, UUID, "root.qcow2"));
      await expect(disks.list(UUID)).rejects.toMatchObject({ code: "STATE_CORRUPT" });
    }));
});

describe("growing a disk", () => {
  it.each(["qcow2", "raw"] as const)("of format %s grows and never shrinks it", (format) =>
    inBackend(async ({ disks }) => {
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, format });
      await disks.resize(UUID, "root", 3 * MIB);
      await disks.resize(UUID, "root", 3 * MIB);
      expect((await disks.list(UUID))[0]?.virtualSizeBytes).toBe(3 * MIB);
      await expect(disks.resize(UUID, "root", 2 * MIB)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        field: "sizeBytes",
      });
      await expect(disks.resize(UUID, "swap", 2 * MIB)).rejects.toMatchObject({
        code: "DISK_NOT_FOUND",
        device: "swap",
      });
    }),
  );
});

describe("exporting a disk", () => {
  it.each([
    ["qcow2", "qcow2"],
    ["qcow2", "raw"],
    ["raw", "raw"],
    ["raw", "qcow2"],
  ] as const)("from %s writes a flat %s", (from, to) =>
    inBackend(async ({ disks, image }) => {
      const source = await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image, format: from });
      await guestWrites((source as { path: string }).path, "data", from);
      const path = await disks.temporaryPath("snapshot-1");
      await disks.exportDisk(UUID, "root", path, to);
      expect(await contentOf(path, to)).toEqual(["system", "data"]);
      if (to === "qcow2") expect((await readFile(path)).readBigUInt64BE(8)).toBe(0n);
      await disks.removeTemporary(path);
      await expect(access(path)).rejects.toThrow();
    }),
  );

  it("leaves nothing when it fails", () =>
    inBackend(async ({ disks, image, qemuImg, directory }) => {
      await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: MIB, image });
      const path = await disks.temporaryPath("snapshot-1");
      const before = await tree(directory);
      qemuImg.before = async (words) => {
        if (words[0] !== "convert") return;
        await writeFile(words.at(-1) ?? "", "half of it");
        throw failure(["qemu-img"], 1);
      };
      await expect(disks.exportDisk(UUID, "root", path, "qcow2")).rejects.toMatchObject({ code: "STORAGE_FAILED" });
      await expect(disks.exportDisk(UUID, "root", "relative", "qcow2")).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
      await expect(disks.exportDisk(UUID, "none", path, "qcow2")).rejects.toMatchObject({ code: "DISK_NOT_FOUND" });
      expect(await tree(directory)).toEqual(before);
    }));
});

describe("tokens and temporary files", () => {
  it("are seen by another back end on the same storage", () =>
    inBackend(async ({ disks, directory }) => {
      const other = new LocalDiskBackend({ directory });
      await disks.leaveToken("t-1");
      expect([await other.seesToken("t-1"), await other.seesToken("t-2")]).toEqual([true, false]);
      await other.removeToken("t-1");
      await other.removeToken("t-1");
      expect(await disks.seesToken("t-1")).toBe(false);
      expect(await disks.listInstances()).toEqual([]);
    }));

  it("have one path a name, however long it is", () =>
    inBackend(async ({ disks }) => {
      const names = ["a", "b", "x".repeat(300), `${"x".repeat(299)}y`];
      const paths = await Promise.all(names.map((name) => disks.temporaryPath(name)));
      expect(new Set(paths).size).toBe(4);
      for (const [i, path] of paths.entries()) {
        await writeFile(path, "");
        expect(await disks.temporaryPath(names[i] ?? "")).toBe(path);
        await disks.removeTemporary(path);
      }
    }));

  it("take no path for a name", () =>
    inBackend(async ({ disks }) => {
      for (const name of ["", "..", "a/b", "../x", "a\0"]) {
        await expect(disks.leaveToken(name)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
        await expect(disks.temporaryPath(name)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      }
      await expect(disks.removeTemporary("/etc/passwd")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }));

  it("needs an absolute directory that leaves room for names", () => {
    expect(() => new LocalDiskBackend({ directory: "disks" })).toThrow(
      expect.objectContaining({ field: "directory" }) as Error,
    );
    expect(
      () => new LocalDiskBackend({ directory: `/${"x".repeat(200)}/`.repeat(5).slice(0, -1).replaceAll("//", "/") }),
    ).toThrow();
  });
});

// Config drives by each program that writes them, and disks made with file systems: read back by other programs than wrote them.
import { stat, readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { CommandNotFoundError, systemCommandRunner } from "../../../src/host/index.js";
import type { CommandRunner } from "../../../src/host/index.js";
import { Secret } from "../../../src/core/index.js";
import { configDriveFiles, LocalConfigDriveBuilder, LocalDiskBackend } from "../../../src/storage/index.js";
import type { ConfigDriveContent, GuestFormat } from "../../../src/storage/index.js";
import { requirePackages, run, withTemporaryDirectory } from "../../lab/index.js";
import { tree } from "../../unit/storage/support/tree.js";
import { MIB, withSmallFileSystem } from "./support.js";

const UUID = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";

const CONTENT: ConfigDriveContent = {
  layout: "openstack",
  uuid: UUID,
  name: "web-1",
  hostname: "web-1",
  adminPassword: Secret.of("hunter2"),
  userData: Uint8Array.from({ length: 70_000 }, (_, i) => i & 255),
  files: [{ path: "/etc/motd", contents: Buffer.from("welcome") }],
};

/** A host that has only some of the programs. */
function only(...programs: readonly string[]): CommandRunner {
  return {
    run: (argv, options) => {
      const wanted = argv[0] === "prlimit" ? argv[argv.indexOf("--") + 1] : argv[0];
      return programs.includes(wanted ?? "")
        ? systemCommandRunner.run(argv, options)
        : Promise.reject(new CommandNotFoundError(wanted ?? ""));
    },
  };
}

async function isThere(program: string): Promise<boolean> {
  return run([program, "--version"]).then(
    () => true,
    () => false,
  );
}

/** Files of an ISO image by their Rock Ridge names. */
async function filesOfIso(path: string): Promise<readonly string[]> {
  const listed = await run(["isoinfo", "-R", "-f", "-i", path]);
  return listed
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.slice(1))
    .sort();
}

beforeAll(() => requirePackages("genisoimage", "mkfs.vfat", "mcopy", "mkfs.ext4", "mkfs.xfs", "qemu-img"));

describe("the image of a config drive", () => {
  it.each(["xorriso", "genisoimage", "mkisofs"])("as an ISO by %s holds every file", async (program) => {
    if (!(await isThere(program))) return;
    await withTemporaryDirectory(async ({ path: root }) => {
      const builder = new LocalConfigDriveBuilder({ commands: only(program) });
      const directory = join(root, "drive");
      const { path, sizeBytes } = await builder.build({ directory, format: "iso", content: CONTENT });
      expect(await stat(path)).toMatchObject({ size: sizeBytes });
      expect((await stat(path)).mode & 0o777).toBe(0o600);
      expect((await stat(directory)).mode & 0o777).toBe(0o700);
      const files = configDriveFiles(CONTENT);
      const listed = await filesOfIso(path);
      for (const file of files) expect(listed).toContain(file.path);
      const copy = join(root, "copy");
      for (const { path: name, contents } of files.slice(0, 3)) {
        await run(["sh", "-c", 'isoinfo -R -i "$1" -x "/$2" > "$3"', "sh", path, name, copy]);
        expect((await readFile(copy)).equals(contents)).toBe(true);
      }
      expect(await run(["isoinfo", "-d", "-i", path])).toMatch(/Volume id: config-2[^]*Joliet[^]*Rock Ridge/);
      expect((await tree(root)).filter((name) => name.includes("drive/files"))).toEqual([]);
    });
  });

  it("as FAT holds every file, by its long name", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      const builder = new LocalConfigDriveBuilder();
      const { path, sizeBytes } = await builder.build({
        directory: join(root, "drive"),
        format: "vfat",
        content: CONTENT,
      });
      expect(sizeBytes).toBe(64 * MIB);
      expect((await stat(path)).mode & 0o777).toBe(0o600);
      const copy = join(root, "copy");
      for (const { path: name, contents } of configDriveFiles(CONTENT)) {
        await run(["mcopy", "-n", "-o", "-i", path, `::/${name}`, copy]);
        expect((await readFile(copy)).equals(contents)).toBe(true);
      }
    }));

  it("goes to another host as a text, and is the same there", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      const builder = new LocalConfigDriveBuilder();
      const { path } = await builder.build({ directory: join(root, "drive"), format: "vfat", content: CONTENT });
      const packed = await builder.pack({ type: "file", path, format: "raw" });
      const there = await builder.unpack(packed, join(root, "there"));
      expect((await readFile(there.path)).equals(await readFile(path))).toBe(true);
      expect((await stat(there.path)).mode & 0o777).toBe(0o600);
      expect((await stat(there.path)).blocks).toBeLessThan((64 * MIB) / 512);
      await expect(builder.unpack("bm90IGd6aXA=", join(root, "bad"))).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    }));

  it.each([
    ["iso", "xorriso or genisoimage"],
    ["vfat", "dosfstools"],
  ] as const)("as %s can't be made without programs, and says what to install", (format, remedy) =>
    withTemporaryDirectory(async ({ path: root }) => {
      const builder = new LocalConfigDriveBuilder({ commands: only("true") });
      const building = builder.build({ directory: join(root, "drive"), format, content: CONTENT });
      await expect(building).rejects.toMatchObject({ code: "NOT_SUPPORTED", remedy: `Install ${remedy}.` });
    }),
  );

  it.runIf(process.getuid?.() === 0).each(["iso", "vfat"] as const)("as %s on a full disk says so", (format) =>
    withSmallFileSystem(256 * 1024, async (small) => {
      const building = new LocalConfigDriveBuilder().build({
        directory: join(small, "drive"),
        format,
        content: CONTENT,
      });
      await expect(building).rejects.toMatchObject({ code: "DISK_FULL", retryable: true });
    }),
  );

  it("is not begun when it is aborted before, and rejects when it is aborted then", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      const directory = join(root, "drive");
      const building = new LocalConfigDriveBuilder().build(
        { directory, format: "iso", content: CONTENT },
        { signal: AbortSignal.abort() },
      );
      await expect(building).rejects.toMatchObject({ code: "ABORTED" });
      await expect(stat(directory)).rejects.toMatchObject({ code: "ENOENT" });
    }));
});

describe("a disk with a file system", () => {
  const kinds: readonly (readonly [GuestFormat["type"], RegExp])[] = [
    ["ext4", /LABEL="ephemeral0".*TYPE="ext4"/],
    ["xfs", /LABEL="ephemeral0".*TYPE="xfs"/],
    ["vfat", /LABEL="ephemeral0".*TYPE="vfat"/],
    ["swap", /LABEL="ephemeral0".*TYPE="swap"/],
  ];

  it.each(kinds.flatMap(([type, said]) => [[type, "raw", said] as const, [type, "qcow2", said] as const]))(
    "of %s in a %s file is what its guest finds",
    (type, format, said) =>
      withTemporaryDirectory(async ({ path: root }) => {
        const disks = new LocalDiskBackend({ directory: root });
        const sizeBytes = (type === "xfs" ? 512 : 64) * MIB;
        const guestFormat = { type, label: "ephemeral0" };
        const source = await disks.create({ instanceUuid: UUID, name: "extra", sizeBytes, guestFormat, format });
        const flat = join(root, "flat");
        await run(["qemu-img", "convert", "-f", format, "-O", "raw", "path" in source ? source.path : "", flat]);
        expect((await stat(flat)).size).toBe(sizeBytes);
        expect(await run(["blkid", "-p", flat])).toMatch(said);
        if (type === "ext4") await run(["e2fsck", "-f", "-n", flat]);
        expect(await disks.removeAll(UUID)).toBe(true);
      }),
  );

  it.runIf(process.getuid?.() === 0)("leaves nothing on a full disk", () =>
    withSmallFileSystem(MIB / 2, async (small) => {
      const disks = new LocalDiskBackend({ directory: join(small, "disks") });
      await disks.create({ instanceUuid: UUID, name: "swap", sizeBytes: MIB, guestFormat: { type: "swap" } });
      const before = await tree(small);
      for (const format of ["raw", "qcow2"] as const) {
        const guestFormat = { type: "ext4", label: "ephemeral0" } as const;
        const creating = disks.create({
          instanceUuid: UUID,
          name: "extra",
          sizeBytes: 16_384 * MIB,
          guestFormat,
          format,
        });
        await expect(creating).rejects.toMatchObject({ code: "DISK_FULL", device: "extra" });
        expect(await tree(small)).toEqual(before);
      }
    }),
  );

  it("is refused without its program, beside an image, and with a label that none can have", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      const disks = new LocalDiskBackend({ directory: root, commands: only("qemu-img") });
      const request = { instanceUuid: UUID, name: "extra", sizeBytes: 64 * MIB };
      const image = { id: "image", path: "/nowhere", format: "raw", virtualSizeBytes: MIB } as const;
      await expect(disks.create({ ...request, guestFormat: { type: "ext4" } })).rejects.toMatchObject({
        code: "NOT_SUPPORTED",
        remedy: expect.stringContaining("e2fsprogs") as string,
      });
      await expect(disks.create({ ...request, image, guestFormat: { type: "swap" } })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
      for (const label of ["-rf", "a b", "x".repeat(12)])
        await expect(disks.create({ ...request, guestFormat: { type: "swap", label } })).rejects.toMatchObject({
          code: "INVALID_ARGUMENT",
        });
      expect(await disks.list(UUID)).toEqual([]);
    }));
});

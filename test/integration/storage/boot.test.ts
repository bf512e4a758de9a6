import { randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DirectoryImageStore, LocalDiskBackend, LvmDiskBackend } from "../../../src/storage/index.js";
import type { DiskBackend, DiskSource, ImageFormat, LocalDiskBackendOptions } from "../../../src/storage/index.js";
import { requirePackages, run, withTemporaryDirectory } from "../../lab/index.js";
import { disk, KvmLab, waitForConsole } from "../kvm/lab.js";
import { canUseLoopLvm, LoopVolumeGroup } from "./loop-lvm.js";
import { MIB } from "./support.js";
import { guestInQcow2Header, writingGuest } from "./writing-guest.js";

const loopLvm = await canUseLoopLvm();
let lab: KvmLab;

beforeAll(async () => {
  requirePackages("qemu-img", "qemu-system-x86_64");
  lab = await KvmLab.open();
});
afterAll(() => lab[Symbol.asyncDispose]());

interface Prepared {
  readonly root: string;
  readonly store: DirectoryImageStore;
}

/** A store with the guest's image in a format. */
function withImage(format: ImageFormat, test: (prepared: Prepared) => Promise<void>): Promise<void> {
  return withTemporaryDirectory(async ({ path: root }) => {
    const [raw, source] = [join(root, "raw"), join(root, "source")];
    await writeFile(raw, writingGuest(format, MIB));
    const qemuFormat = format === "vhd" ? "vpc" : format;
    const options = format === "vhd" ? ["-o", "force_size=on"] : [];
    await run(["qemu-img", "convert", "-f", "raw", "-O", qemuFormat, ...options, raw, source]);
    const store = new DirectoryImageStore({ directory: join(root, "images") });
    await store.import({ id: "image", format, stream: Readable.from([await readFile(source)]) });
    await test({ root, store });
  });
}

/** Boots from the disk until the guest has said and written what it has to. */
async function boots(source: DiskSource, saying: string): Promise<void> {
  const guest = await lab.define({ disks: [{ ...disk("root", "vda", "/"), source, bootIndex: 0 }] });
  await guest.start();
  await waitForConsole(guest, /WROTE|FAILED/);
  const said = await waitForConsole(guest, /\[.*\] (?:WROTE|FAILED)/);
  await guest.kill();
  expect(said).toContain(`${saying} WROTE`);
}

/** Makes a root disk, boots from it twice, and boots from a snapshot of it. */
async function isAWholeDisk(disks: DiskBackend, { store }: Prepared, text: string): Promise<void> {
  const instanceUuid = randomUUID();
  const image = await store.fetch("image");
  const source = await disks.create({ instanceUuid, name: "root", sizeBytes: 2 * MIB, image });
  await boots(source, `[${text}]`);
  const path = await disks.temporaryPath("snapshot");
  await disks.exportDisk(instanceUuid, "root", path, "qcow2");
  const id = `snapshot-${instanceUuid}`;
  await store.upload({ id, format: "qcow2" }, path);
  await disks.removeTemporary(path);
  const copy = await disks.create({ instanceUuid, name: "copy", sizeBytes: 4 * MIB, image: await store.fetch(id) });
  await boots(copy, `[${text}][${text}]`);
  await disks.removeAll(instanceUuid);
}

describe("a guest reads and writes its disk, and boots from a snapshot of it", () => {
  it.each([
    ["an overlay of a qcow2 image", "qcow2", {}],
    ["a flat qcow2 file", "qcow2", { layout: "flat" }],
    ["an overlay of a raw image", "raw", {}],
    ["a sparse raw file", "raw", { defaultFormat: "raw" }],
    ["a raw file of reserved space", "raw", { defaultFormat: "raw", preallocation: "falloc" }],
    ["a raw file of written space", "raw", { defaultFormat: "raw", preallocation: "full" }],
    ["a copy of a VMDK image", "vmdk", {}],
    ["a copy of a VDI image", "vdi", { defaultFormat: "raw" }],
    ["a copy of a VHDX image", "vhdx", {}],
    ["a copy of a VHD image", "vhd", {}],
  ] as const satisfies readonly (readonly [string, ImageFormat, Partial<LocalDiskBackendOptions>])[])(
    "that is %s",
    (_what, format, options) =>
      withImage(format, async (prepared) => {
        const disks = new LocalDiskBackend({ directory: join(prepared.root, "disks"), ...options });
        await isAWholeDisk(disks, prepared, format);
      }),
  );

  it("that was copied while the guest ran", () =>
    withImage("qcow2", async ({ root, store }) => {
      const disks = new LocalDiskBackend({ directory: join(root, "disks") });
      const [instanceUuid, sizeBytes] = [randomUUID(), 2 * MIB];
      const source = await disks.create({ instanceUuid, name: "root", sizeBytes, image: await store.fetch("image") });
      const guest = await lab.define({ disks: [{ ...disk("root", "vda", "/"), source, bootIndex: 0 }] });
      await guest.start();
      await waitForConsole(guest, /\[.*\] WROTE/);
      const path = await disks.temporaryPath("live-snapshot");
      await guest.copyDisk("root", path, "qcow2");
      expect(await guest.info()).toMatchObject({ state: "running" });
      await guest.kill();
      await store.upload({ id: "live-snapshot", format: "qcow2" }, path);
      const image = await store.fetch("live-snapshot");
      await boots(await disks.create({ instanceUuid, name: "copy", sizeBytes, image }), "[qcow2][qcow2]");
    }));

  it("that is raw, though its bytes are the header of a qcow2 image on a file of the host", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      const [secret, source] = [join(root, "secret"), join(root, "source")];
      await writeFile(secret, writingGuest("secret", MIB));
      await writeFile(source, guestInQcow2Header("guest", MIB, secret));
      expect(JSON.parse(await run(["qemu-img", "info", "--output=json", "-f", "qcow2", source]))).toMatchObject({
        "backing-filename": expect.stringContaining(secret) as string,
      });
      const store = new DirectoryImageStore({ directory: join(root, "images") });
      await expect(store.import({ id: "qcow2", format: "qcow2", path: source })).rejects.toMatchObject({
        code: "IMAGE_UNACCEPTABLE",
      });
      await store.import({ id: "image", format: "raw", path: source });
      for (const options of [{}, { layout: "flat" }, { defaultFormat: "raw" }] as const) {
        const disks = new LocalDiskBackend({ directory: join(root, "disks"), ...options });
        await isAWholeDisk(disks, { root, store }, "guest");
      }
      expect((await readFile(secret)).equals(writingGuest("secret", MIB))).toBe(true);
    }));

  it.runIf(loopLvm)("that is a logical volume", () =>
    withImage("qcow2", async (prepared) => {
      await using group = await LoopVolumeGroup.create(prepared.root, 128 * MIB);
      const disks = new LvmDiskBackend({
        volumeGroup: group.name,
        directory: join(prepared.root, "files"),
        config: group.config,
        deviceDirectory: group.deviceDirectory,
        commands: group,
      });
      await isAWholeDisk(disks, prepared, "qcow2");
    }),
  );
});

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MemoryStateStore, Secret } from "../../../src/core/index.js";
import { KvmDriver } from "../../../src/kvm/index.js";
import {
  DirectoryImageStore,
  IscsiVolumeConnector,
  LocalVolumeConnector,
  LuksFormat,
  NbdVolumeConnector,
  SourceInspector,
} from "../../../src/storage/index.js";
import type { EncryptedSource, VolumeConnection, VolumeConnector } from "../../../src/storage/index.js";
import { requirePackages, run, testGuest, waitFor, waitForFile, withTemporaryDirectory } from "../../lab/index.js";
import { disk, KvmLab, waitForConsole } from "../kvm/lab.js";
import { CHAP, during, ISCSI_TARGET, withIscsiTarget } from "./iscsi-target.js";
import { MIB } from "./support.js";
import { writingGuest } from "./writing-guest.js";

const UUID = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";
const BOOT_MS = 120_000;
const encryption = { format: "luks", secretId: "key" } as const;

let sealed: Promise<string> | undefined;

let lab: KvmLab;
beforeAll(async () => {
  requirePackages("qemu-img", "qemu-nbd", "qemu-system-x86_64", "tgtd", "QEMU's iSCSI driver");
  lab = await KvmLab.open();
  await lab.secrets.put("chap", Secret.of(CHAP.password));
  await lab.secrets.put("key", Secret.of("passphrase of the volume"));
});
afterAll(() => lab[Symbol.asyncDispose]());

/** Connects the volume, boots from it until the guest has said and written what it has to, and disconnects it. */
async function bootOnce(connector: VolumeConnector, volume: VolumeConnection, saying: string): Promise<void> {
  const source = await connector.connect(volume, UUID);
  const guest = await lab.define({ disks: [{ ...disk("root", "vda", "/"), source, bootIndex: 0 }] });
  await guest.start();
  await waitForConsole(guest, /WROTE|FAILED/);
  const said = await waitForConsole(guest, /\[.*\] (?:WROTE|FAILED)/);
  await guest.kill();
  await lab.hypervisor.undefine(guest.uuid);
  await connector.disconnect(volume, UUID);
  expect(said).toContain(`${saying} WROTE`);
}

/** What a guest writes, the next one reads. */
async function isReadAndWritten(connector: VolumeConnector, volume: VolumeConnection): Promise<void> {
  await bootOnce(connector, volume, "[volume]");
  await bootOnce(connector, volume, "[volume][volume]");
}

/** A LUKS container that the guest is in. It is made once, since making one takes seconds of CPU time. */
async function sealedGuest(): Promise<string> {
  const path = lab.directory.file("sealed");
  const source: EncryptedSource = { type: "file", path, format: "raw", encryption };
  await new LuksFormat({ secrets: lab.secrets }).format(source, { sizeBytes: 4 * MIB, iterationMs: 10 });
  const plain = `${path}.plain`;
  await writeFile(plain, writingGuest("volume", MIB));
  const inside = `driver=luks,key-secret=disk0-key,file.driver=file,file.filename=${path}`;
  const words = ["convert", "-n", "-f", "raw", "--target-image-opts", plain, inside];
  await new SourceInspector({ secrets: lab.secrets }).run(source, words, "copy");
  return path;
}

async function exporting(root: string, file: string, work: (volume: VolumeConnection) => Promise<void>): Promise<void> {
  const [socket, pidFile] = [join(root, "nbd.sock"), join(root, "nbd.pid")];
  const server = spawn("qemu-nbd", ["-t", "-f", "raw", "-k", socket, "--pid-file", pidFile, file], { stdio: "ignore" });
  await during(server, async () => {
    await waitForFile(pidFile);
    await work({ volumeId: "vol-1", type: "nbd", data: { server: { type: "unix", path: socket } } });
  });
}

describe("a guest reads and writes a volume", () => {
  it("of an NBD server", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      await writeFile(join(root, "volume"), writingGuest("volume", MIB));
      const connector = new NbdVolumeConnector({ state: new MemoryStateStore(), connectMs: 60_000 });
      await exporting(root, join(root, "volume"), (volume) => isReadAndWritten(connector, volume));
    }));

  it("of an iSCSI target", () =>
    withTemporaryDirectory(({ path: root }) =>
      withIscsiTarget(root, async (port) => {
        await writeFile(join(root, "unit.img"), writingGuest("volume", MIB), { flag: "r+" });
        const { secrets } = lab;
        const connector = new IscsiVolumeConnector({ state: new MemoryStateStore(), secrets, connectMs: 60_000 });
        const portals = [{ host: "127.0.0.1", port }];
        const auth = { username: CHAP.username, secretId: "chap" };
        const data = { portals, target: ISCSI_TARGET, lun: 1, auth };
        await isReadAndWritten(connector, { volumeId: "vol-1", type: "iscsi", data });
      }),
    ));

  it.runIf(process.getuid?.() === 0)("that is a block device", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      await writeFile(join(root, "volume"), writingGuest("volume", MIB));
      const device = (await run(["losetup", "--find", "--show", join(root, "volume")])).trim();
      try {
        const connector = new LocalVolumeConnector({ roots: ["/dev"], state: new MemoryStateStore() });
        const data = { path: device, format: "raw", kind: "block" };
        await isReadAndWritten(connector, { volumeId: "vol-1", type: "local", data });
      } finally {
        await run(["losetup", "--detach", device]);
      }
    }),
  );

  it.each(["here", "at an NBD server"])("that is encrypted, and kept %s", (where) =>
    withTemporaryDirectory(async ({ path: root }) => {
      const path = join(root, "volume");
      sealed ??= sealedGuest();
      await copyFile(await sealed, path);
      const state = new MemoryStateStore();
      if (where === "here") {
        const connector = new LocalVolumeConnector({ roots: [root], state });
        const data = { path, format: "raw" };
        await isReadAndWritten(connector, { volumeId: "vol-1", type: "local", data, encryption });
      } else {
        const connector = new NbdVolumeConnector({ state, connectMs: 60_000 });
        await exporting(root, path, (volume) => isReadAndWritten(connector, { ...volume, encryption }));
      }
      expect((await readFile(path)).includes("[volume]")).toBe(false);
    }),
  );
});

describe("a machine image", { timeout: 300_000 }, () => {
  it("boots with the kernel and the ramdisk that it names", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      const { kernel, initrd, kernelArguments, memoryMiB } = await testGuest();
      const images = new DirectoryImageStore({ directory: join(root, "images") });
      await images.import({ id: "kernel", format: "aki", path: kernel });
      await images.import({ id: "ramdisk", format: "ari", path: initrd });
      await writeFile(join(root, "machine"), Buffer.alloc(MIB, "the root file system "));
      const properties = { kernel_id: "kernel", ramdisk_id: "ramdisk", os_command_line: kernelArguments };
      await images.import({ id: "machine", format: "ami", path: join(root, "machine"), properties });
      const driver = new KvmDriver({
        stateDirectory: join(root, "state"),
        accelerator: "tcg",
        collaborators: { images },
      });
      const instance = { uuid: randomUUID(), name: "machine" };
      try {
        await driver.initHost();
        await driver.spawn({ ...instance, flavor: { vcpus: 1, memoryMiB, rootGiB: 0 }, imageId: "machine" });
        let said = "";
        const isUp = async (): Promise<boolean> => {
          said = Buffer.from((await driver.getConsoleOutput(instance)).bytes).toString("utf8");
          return said.includes("HV-READY");
        };
        await waitFor(isUp, { timeoutMs: BOOT_MS, what: "the guest", detail: () => said });
      } finally {
        await driver.destroy(instance);
        await driver.close();
      }
    }));
});

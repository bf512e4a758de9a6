// A real guest reads its config drive, swaps to its swap disk and writes to its ephemeral disk; all of it moves with it.
import { createHash, randomUUID } from "node:crypto";
import { stat } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { liveMigrate } from "../../../src/driver/index.js";
import type { InstanceRef, InstanceSpec } from "../../../src/driver/index.js";
import { KvmDriver } from "../../../src/kvm/index.js";
import { createMacGenerator, UserNetworkPlugger } from "../../../src/network/index.js";
import { configDriveFiles, DirectoryImageStore, LocalConfigDriveBuilder } from "../../../src/storage/index.js";
import type { BuildConfigDriveRequest, ConfigDriveBuilder, TransferOptions } from "../../../src/storage/index.js";
import { temporaryDirectory, testGuest, waitFor } from "../../lab/index.js";
import type { LabGuest, TemporaryDirectory } from "../../lab/index.js";

const BOOT_MS = 120_000;

const macAddress = createMacGenerator();

/** Tells afterwards what the last drive was made from. */
class RememberingBuilder extends LocalConfigDriveBuilder {
  last: BuildConfigDriveRequest["content"] | undefined;

  override build(request: BuildConfigDriveRequest, options?: TransferOptions): ReturnType<ConfigDriveBuilder["build"]> {
    this.last = request.content;
    return super.build(request, options);
  }
}

describe("a guest and its config drive", () => {
  const builder = new RememberingBuilder();
  let directory: TemporaryDirectory;
  let guest: LabGuest;
  let driver: KvmDriver;
  let images: DirectoryImageStore;
  const opened: { readonly driver: KvmDriver; readonly instances: InstanceRef[] }[] = [];

  const open = async (name: string): Promise<KvmDriver> => {
    const made = new KvmDriver({
      stateDirectory: directory.file(name),
      accelerator: "tcg",
      migration: { transport: "unix" },
      collaborators: { images, vifs: new UserNetworkPlugger(), configDrives: builder },
      timeouts: { shutdownGraceMs: 0 },
    });
    opened.push({ driver: made, instances: [] });
    await made.initHost();
    return made;
  };

  beforeAll(async () => {
    directory = await temporaryDirectory("hvc-");
    guest = await testGuest();
    images = new DirectoryImageStore({ directory: directory.file("images") });
    await images.import({ id: "kernel", format: "aki", path: guest.kernel });
    await images.import({ id: "ramdisk", format: "ari", path: guest.initrd });
    driver = await open("a");
  }, BOOT_MS);

  afterAll(async () => {
    for (const { driver: one, instances } of opened) {
      for (const instance of instances) await one.destroy(instance);
      await one.close();
    }
    await directory.remove();
  }, BOOT_MS);

  const boot = async (changes: Partial<InstanceSpec>): Promise<InstanceRef> => {
    const uuid = randomUUID();
    const { instance } = await driver.spawn({
      uuid,
      name: `drive-${uuid.slice(0, 8)}`,
      flavor: { name: "small", vcpus: 1, memoryMiB: guest.memoryMiB, rootGiB: 0, ephemeralGiB: 1, swapMiB: 32 },
      kernel: { kernelImageId: "kernel", ramdiskImageId: "ramdisk", commandLine: guest.kernelArguments },
      vifs: [
        {
          type: "user",
          id: randomUUID(),
          macAddress: macAddress(),
          network: { id: "net", subnets: [{ cidr: "10.0.2.0/24", gateway: "10.0.2.2", dnsServers: ["10.0.2.3"] }] },
          fixedIps: [{ address: "10.0.2.15" }],
          tag: "outside",
        },
      ],
      adminPassword: "correct horse",
      injectedFiles: [{ path: "/etc/key", contents: Uint8Array.from({ length: 5000 }, (_, i) => i & 255) }],
      ...changes,
    });
    for (const { instances } of opened) instances.push(instance);
    const said = async (): Promise<string> => Buffer.from((await driver.getConsoleOutput(instance)).bytes).toString();
    await waitFor(async () => (await said()).includes("HV-READY"), { timeoutMs: BOOT_MS, what: "a booted guest" });
    await waitFor(
      () =>
        sh(driver, instance, "true").then(
          () => true,
          () => false,
        ),
      {
        timeoutMs: BOOT_MS,
        what: "an answer of the guest agent",
      },
    );
    return instance;
  };

  const sh = async (on: KvmDriver, instance: InstanceRef, script: string): Promise<string> => {
    const { exitCode, stdout, stderr } = await on.execInGuest(instance, ["/bin/sh", "-c", script]);
    if (exitCode !== 0) throw new Error(`${script}: ${exitCode} ${Buffer.from(stderr).toString()}`);
    return Buffer.from(stdout).toString().trim();
  };

  const read = async (on: KvmDriver, instance: InstanceRef): Promise<readonly string[]> => {
    await waitFor(
      () =>
        sh(on, instance, "grep -q ' /mnt/config ' /proc/mounts").then(
          () => true,
          () => false,
        ),
      {
        timeoutMs: BOOT_MS,
        what: "the config drive's mount",
      },
    );
    const lines = await sh(
      on,
      instance,
      "echo 3 > /proc/sys/vm/drop_caches; cd /mnt/config && find . -type f -exec sha256sum '{}' +",
    );
    return lines
      .split("\n")
      .map((line) => line.replace("  ./", "  "))
      .sort();
  };

  const told = (): readonly string[] => {
    if (builder.last === undefined) throw new Error("no drive was made");
    return configDriveFiles(builder.last)
      .map(({ path, contents }) => `${createHash("sha256").update(contents).digest("hex")}  ${path}`)
      .sort();
  };

  it(
    "reads OpenStack's layout from a CD file by file, swaps, writes to its disk, and does so after a live migration",
    async () => {
      const instance = await boot({
        // Kernels for clouds often drive no SATA.
        configDrive: { bus: "scsi", userData: "#!/bin/sh\ntrue\n", publicKeys: { ours: "ssh-ed25519 AAAA ours" } },
      });
      const expected = told();
      expect(await read(driver, instance)).toEqual(expected);
      expect(await sh(driver, instance, "grep -c iso9660 /proc/mounts")).toBe("1");
      const disk = (await driver.getInstanceDiskInfo(instance)).find(({ name }) => name === "config");
      const path = disk?.source.type === "file" ? disk.source.path : "";
      expect((await stat(path)).mode & 0o777).toBe(0o600);

      const names = (await driver.listDisks(instance)).map(({ id, deviceName }) => [id, deviceName]);
      expect(names).toEqual([
        ["ephemeral0", "vda"],
        ["swap", "vdb"],
        ["config", "sda"],
      ]);
      expect(await sh(driver, instance, "swapon /dev/vdb && awk '/vdb/ { print $3 }' /proc/swaps")).toBe("32764");
      expect(await sh(driver, instance, "df -m /mnt/vda | awk 'END { print ($2 > 900) }'")).toBe("1");
      await sh(driver, instance, "echo kept > /mnt/vda/note && sync");

      const destination = await open("b");
      opened.at(-1)?.instances.push(instance);
      await liveMigrate(driver, destination, instance).result;
      expect(await read(destination, instance)).toEqual(expected);
      expect(await sh(destination, instance, "cat /mnt/vda/note; awk '/vdb/ { print $3 }' /proc/swaps")).toBe(
        "kept\n32764",
      );
      await destination.destroy(instance);
      await expect(stat(path)).rejects.toMatchObject({ code: "ENOENT" });
    },
    3 * BOOT_MS,
  );

  it(
    "reads a NoCloud seed from a FAT disk file by file",
    async () => {
      const instance = await boot({
        flavor: { vcpus: 1, memoryMiB: guest.memoryMiB, rootGiB: 0 },
        configDrive: { layout: "nocloud", format: "vfat", userData: "#cloud-config\n{}\n", networkConfig: 2 },
      });
      const expected = told();
      expect(expected.map((line) => line.split("  ")[1]).sort()).toEqual([
        ...["meta-data", "network-config", "user-data", "vendor-data"],
      ]);
      expect(await read(driver, instance)).toEqual(expected);
      expect(await sh(driver, instance, "grep -c ' /mnt/config vfat ' /proc/mounts")).toBe("1");
      await driver.destroy(instance);
    },
    2 * BOOT_MS,
  );
});

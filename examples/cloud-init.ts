/**
 * Gives a guest a cloud-init seed: its name, keys, user data and network, on a drive of its own; then reads the drive in the guest.
 * Needs QEMU and one of `xorriso`, `genisoimage`, `mkisofs`, and no privileges.
 *
 * `npm run examples -- cloud-init`, or with an image of your own: `npx tsx examples/cloud-init.ts IMAGE.qcow2`.
 */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { KvmDriver } from "hypervise/kvm";
import { createMacGenerator } from "hypervise/network";
import { DirectoryImageStore } from "hypervise/storage";

const path = process.argv[2] === undefined ? await testGuestImage() : resolve(process.argv[2]);
const stateDirectory = await mkdtemp(join(tmpdir(), "cloud-init-"));
try {
  const images = new DirectoryImageStore({ directory: join(stateDirectory, "images") });
  await images.import({ id: "guest", format: "qcow2", path });

  await using driver = new KvmDriver({ stateDirectory, collaborators: { images } });
  await driver.initHost();

  const { instance } = await driver.spawn({
    uuid: randomUUID(),
    name: "web-1",
    flavor: { vcpus: 1, memoryMiB: 256, rootGiB: 0, swapMiB: 64 },
    imageId: "guest",
    vifs: [
      {
        type: "user",
        id: randomUUID(),
        macAddress: createMacGenerator()(),
        network: { id: "outside", subnets: [{ cidr: "10.0.2.0/24", dhcpServer: "10.0.2.2" }] },
      },
    ],
    configDrive: {
      layout: "nocloud",
      // A guest without a driver for SATA, as many kernels for clouds are, finds its CD on SCSI.
      bus: "scsi",
      hostname: "web-1.example.org",
      publicKeys: { ours: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJhb2x5LW1vbGx5LXRoaXMtaXMtbm8ta2V5 ours" },
      userData: "#cloud-config\npackages: [nginx]\n",
    },
    // In the drive, and in no record.
    adminPassword: "correct horse",
  });

  try {
    // The tests' guest says when it has its drive, and when its agent runs.
    const isUp = async (): Promise<boolean> => {
      const said = Buffer.from((await driver.getConsoleOutput(instance)).bytes).toString();
      return said.includes("login:") || (said.includes("HV-CONFIG-DRIVE") && said.includes("HV-READY"));
    };
    const serial = await driver.openConsole(instance);
    for await (const chunk of (await isUp()) ? [] : serial) {
      process.stdout.write(chunk as Buffer);
      if (await isUp()) break;
    }
    serial.destroy();

    for (const disk of await driver.listDisks(instance))
      console.log(`\n${disk.id} is ${disk.deviceName} on ${disk.bus}${disk.readOnly ? ", read-only" : ""}`);
    if (process.argv[2] === undefined) {
      // The tests' guest mounts its seed, and does no more with it.
      for (const file of ["meta-data", "user-data", "network-config"]) {
        const content = await driver.readGuestFile(instance, `/mnt/config/${file}`);
        console.log(`\n${file}:\n${Buffer.from(content).toString()}`);
      }
    }
  } finally {
    await driver.destroy(instance);
  }
} finally {
  await rm(stateDirectory, { recursive: true, force: true });
}

/** The little Linux that the project's tests boot. */
async function testGuestImage(): Promise<string> {
  const { ensureBootDisk } = await import("../scripts/guest/boot-disk.mjs");
  return (await ensureBootDisk()).disk;
}

/**
 * Moves a guest on real QEMU between two KVM drivers with its disk, without shared storage, while it runs. Needs QEMU, and no privileges.
 *
 * `npm run examples -- kvm-live-migrate`, or with an image of your own: `npx tsx examples/kvm-live-migrate.ts IMAGE.qcow2`.
 */
import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { liveMigrate } from "hypervise";
import { KvmDriver } from "hypervise/kvm";
import { DirectoryImageStore } from "hypervise/storage";

const path = process.argv[2] === undefined ? await testGuestImage() : resolve(process.argv[2]);
const directory = await mkdtemp(join(tmpdir(), "kvm-migrate-"));
try {
  const images = new DirectoryImageStore({ directory: join(directory, "images") });
  await images.import({ id: "guest", format: "qcow2", path });

  await using a = await open("a", images);
  await using b = await open("b", images);
  const { instance } = await a.spawn({
    uuid: randomUUID(),
    name: "traveller",
    flavor: { vcpus: 1, memoryMiB: 256, rootGiB: 0 },
    imageId: "guest",
    vifs: [],
  });
  try {
    const handle = liveMigrate(a, b, instance, {
      onMigrationProgress: ({ phase, downtimeMs }) => {
        if (phase === "completed") console.log(`  it stood still for ${downtimeMs ?? 0} ms`);
      },
    });
    let last = "";
    for await (const { phase } of handle.events()) {
      if (phase !== last) console.log(phase);
      last = phase;
    }
    await handle.result;
    const there = (await a.instanceExists(instance)) ? "there" : "nothing";
    console.log(`on a: ${there}, on b: ${(await b.getInfo(instance)).state}`);
  } finally {
    await b.destroy(instance);
    await a.destroy(instance);
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}

/** A "host" of its own: its guests wait on sockets, since both are one machine. */
async function open(name: string, images: DirectoryImageStore): Promise<KvmDriver> {
  const stateDirectory = join(directory, name);
  await mkdir(stateDirectory);
  const driver = new KvmDriver({ stateDirectory, migration: { transport: "unix" }, collaborators: { images } });
  await driver.initHost();
  return driver;
}

/** The little Linux that the project's tests boot. */
async function testGuestImage(): Promise<string> {
  const { ensureBootDisk } = await import("../scripts/guest/boot-disk.mjs");
  return (await ensureBootDisk()).disk;
}

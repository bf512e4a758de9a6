/**
 * Boots an image on real QEMU, reads its console, shuts it down, destroys it. Needs QEMU, and no privileges.
 *
 * `npm run examples -- kvm-spawn`, or with an image of your own: `npx tsx examples/kvm-spawn.ts IMAGE.qcow2`.
 */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { KvmDriver } from "hypervise/kvm";
import { createMacGenerator } from "hypervise/network";
import { DirectoryImageStore } from "hypervise/storage";

const path = process.argv[2] === undefined ? await testGuestImage() : resolve(process.argv[2]);
const stateDirectory = await mkdtemp(join(tmpdir(), "kvm-spawn-"));
try {
  const images = new DirectoryImageStore({ directory: join(stateDirectory, "images") });
  await images.import({ id: "guest", format: "qcow2", path });

  await using driver = new KvmDriver({ stateDirectory, collaborators: { images } });
  await driver.initHost();
  console.log(`guests run on ${driver.accelerator?.name}`);

  const uuid = randomUUID();
  const { instance } = await driver.spawn({
    uuid,
    name: "example",
    flavor: { vcpus: 1, memoryMiB: 256, rootGiB: 0 },
    imageId: "guest",
    vifs: [{ type: "user", id: randomUUID(), macAddress: createMacGenerator()(), network: { id: "outside" } }],
  });

  try {
    // The console is a stream, which says when to look: there is nothing to poll.
    const isUp = async (): Promise<boolean> =>
      /HV-READY|login:/.test(Buffer.from((await driver.getConsoleOutput(instance)).bytes).toString());
    const serial = await driver.openConsole(instance);
    for await (const chunk of (await isUp()) ? [] : serial) {
      process.stdout.write(chunk as Buffer);
      if (await isUp()) break;
    }
    serial.destroy();
    const { how } = await driver.powerOff(instance, { graceMs: 60_000 });
    console.log(`\nit is off: ${how}`);
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

/**
 * Runs a guest by a libvirt daemon: spawns it, follows its events, reads its counters, plugs a volume, destroys it.
 *
 * `npm run examples -- libvirt-spawn` needs no daemon: libvirt is simulated then, and the guest with it. With a daemon and an image of your own:
 * `npx tsx examples/libvirt-spawn.ts qemu:///system IMAGE.qcow2`.
 */
import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { LibvirtDriver } from "hypervise/libvirt";
import { createMacGenerator } from "hypervise/network";
import { DirectoryImageStore } from "hypervise/storage";
import { SimulatedLibvirtHost } from "hypervise/testing";

const [uri = "qemu:///system", image] = process.argv.slice(2);
await using simulated = await SimulatedLibvirtHost.create({ name: "example" });
const directory = await mkdtemp(join(tmpdir(), "libvirt-spawn-"));
try {
  const images = new DirectoryImageStore({ directory: join(directory, "images") });
  const path = image === undefined ? await emptyFile("image.raw") : resolve(image);
  await images.import({ id: "guest", format: path.endsWith(".raw") ? "raw" : "qcow2", path });

  await using driver = new LibvirtDriver({
    stateDirectory: directory,
    virtType: "qemu",
    uri,
    collaborators: { images },
    // With a daemon there is nothing to say here.
    ...(image === undefined ? { connection: { connect: simulated.connector } } : {}),
  });
  await driver.initHost();
  const told = driver.events();

  const instance = { uuid: randomUUID(), name: "example" };
  await driver.spawn({
    ...instance,
    flavor: { vcpus: 1, memoryMiB: 256, rootGiB: 1 },
    imageId: "guest",
    vifs: [{ type: "user", id: randomUUID(), macAddress: createMacGenerator()(), network: { id: "outside" } }],
  });
  try {
    const { state, memoryMiB } = await driver.getInfo(instance);
    console.log(`${instance.name} is ${state}, with ${memoryMiB} MiB`);

    const volume = await emptyFile("volumes/data");
    const { deviceName } = await driver.attachVolume(instance, {
      volumeId: "data",
      type: "local",
      data: { path: volume, format: "raw" },
    });
    console.log(`the volume is ${deviceName}`);
    await driver.pause(instance);
    await driver.unpause(instance);
  } finally {
    await driver.destroy(instance);
  }

  for await (const event of told) {
    if (event.type === "lifecycle") console.log(`${event.transition}, by ${event.cause}`);
    if (event.type === "instance" && event.change === "destroyed") break;
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}

async function emptyFile(name: string): Promise<string> {
  const path = join(directory, name);
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, "");
  await truncate(path, 1_048_576);
  return path;
}

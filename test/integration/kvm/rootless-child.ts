// A driver without any privilege: run by rootless.test.ts as another user. Says what it saw as one line of JSON.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KvmDriver } from "../../../src/kvm/index.js";
import { DirectoryImageStore } from "../../../src/storage/index.js";
import { waitFor } from "../../lab/wait-for.js";

const [, , directory = "", disk = ""] = process.argv;
const instance = { uuid: "5d3c2f0e-0d8d-4f4e-9a51-3a4f0f9b7c01", name: "rootless" };
const images = new DirectoryImageStore({ directory: join(directory, "images") });
await images.import({ id: "guest", format: "qcow2", path: disk });
await using driver = new KvmDriver({ stateDirectory: join(directory, "state"), collaborators: { images } });
await driver.initHost();
const port = (last: number) =>
  ({
    type: "user",
    id: `5d3c2f0e-0d8d-4f4e-9a51-3a4f0f9b7d0${last}`,
    macAddress: `52:54:00:00:00:0${last}`,
    network: { id: "net" },
  }) as const;

const bridged = driver.spawn({
  ...instance,
  flavor: { vcpus: 1, memoryMiB: 192, rootGiB: 0 },
  imageId: "guest",
  vifs: [{ ...port(1), type: "bridge", bridge: "br0" }],
});
const refusal = await bridged.then(
  () => "none",
  (error: { code?: string }) => String(error.code),
);
await driver.spawn({
  ...instance,
  flavor: { vcpus: 1, memoryMiB: 192, rootGiB: 0 },
  imageId: "guest",
  vifs: [port(1)],
});
const address = (): Promise<string | undefined> =>
  driver.getGuestInterfaces(instance).then(
    (interfaces) => interfaces.flatMap(({ addresses }) => addresses).find((found) => found.startsWith("10.0.2.")),
    () => undefined,
  );
const found = await waitFor(address, { timeoutMs: 120_000, what: "the guest's address" });
await driver.attachInterface(instance, port(2));
await driver.detachInterface(instance, port(2));
const stopped = await driver.powerOff(instance);
await driver.destroy(instance);
const left = await driver.listInstances();
await writeFile(
  join(directory, "seen.json"),
  JSON.stringify({ uid: process.getuid?.(), refusal, found, stopped, left }),
);

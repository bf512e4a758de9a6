/** Devices of instances on a real libvirtd, by LibvirtDriver: shared ones, tagged ones, and those that come or go when somebody dies. */
import { spawn as spawnProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Secret } from "../../../../src/core/index.js";
import type { InstanceRef } from "../../../../src/driver/index.js";
import type { LibvirtDriver } from "../../../../src/libvirt/driver/index.js";
import { LibvirtClient, parseDomainXml } from "../../../../src/libvirt/index.js";
import type { LibvirtXml } from "../../../../src/libvirt/index.js";
import { FileSecretStore, LuksFormat } from "../../../../src/storage/index.js";
import type { VolumeConnection } from "../../../../src/storage/index.js";
import { run, waitFor } from "../../../lab/index.js";
import { startLibvirtHost } from "../../../lab/libvirt-host.js";
import type { LabLibvirtHost } from "../../../lab/libvirt-host.js";
import { commandInGuest } from "./command-in-guest.js";
import type { HotplugRequest } from "./hotplug-child.js";

const CHILD = fileURLToPath(new URL("hotplug-child.ts", import.meta.url));
const ROOT = fileURLToPath(new URL("../../../..", import.meta.url));
const T = { timeout: 240_000 };

let host: LabLibvirtHost;
let driver: LibvirtDriver;
let client: LibvirtClient;
let sealed: VolumeConnection;
let one: InstanceRef;
let two: InstanceRef;

async function open(): Promise<LibvirtDriver> {
  const opened = host.open({
    timeouts: { detachMs: 120_000, attachMs: 90_000 },
    libvirtTimeouts: { detachResendMs: 3_000, letGoMs: 90_000 },
  });
  await opened.initHost();
  return opened;
}

async function volume(volumeId: string, more: Partial<VolumeConnection> = {}): Promise<VolumeConnection> {
  const path = join(host.volumeDirectory, volumeId);
  await run(["truncate", "-s", "8M", path]);
  return { volumeId, type: "local", data: { path, format: "raw" }, ...more };
}

async function make(name: string, powerOn: boolean): Promise<InstanceRef> {
  const instance = { uuid: randomUUID(), name };
  const flavor = { vcpus: 1, memoryMiB: host.memoryMiB, rootGiB: 1 };
  await driver.spawn({ ...instance, flavor, imageId: "guest", vifs: [] }, { powerOn });
  return instance;
}

beforeAll(async () => {
  host = await startLibvirtHost();
  await mkdir(host.volumeDirectory, { recursive: true });
  client = await LibvirtClient.open(host.daemon.uri("qemu"), { reconnect: { giveUpAfterMs: 60_000 } });
  const secrets = new FileSecretStore({ directory: join(host.directory, "state", "secrets") });
  await secrets.put("key", Secret.of("a key of a volume"));
  const path = join(host.volumeDirectory, "sealed");
  const encryption = { format: "luks", secretId: "key" } as const;
  await new LuksFormat({ secrets }).format(
    { type: "file", path, format: "raw", encryption },
    { sizeBytes: 8 * 1_048_576, iterationMs: 10 },
  );
  sealed = { volumeId: "sealed", type: "local", data: { path, format: "raw" }, encryption };
  driver = await open();
}, 180_000);
afterAll(async () => {
  await driver?.close();
  await client?.close();
  await host?.remove();
}, 120_000);

async function disks({ uuid }: InstanceRef, where: "live" | "configured"): Promise<readonly LibvirtXml.DomainDisk[]> {
  const domain = await client.lookupDomainByUuid(uuid);
  return parseDomainXml(await domain.getXmlDesc({ flags: where === "live" ? [] : ["inactive"] })).devices?.disk ?? [];
}

/** Serial numbers of the volumes that libvirt has: in memory, and to start with. */
async function volumes(instance: InstanceRef): Promise<readonly (readonly string[])[]> {
  const read = async (where: "live" | "configured"): Promise<string[]> =>
    (await disks(instance, where)).flatMap(({ serial }) => serial ?? []).sort();
  return [await read("live"), await read("configured")];
}

/** What is printed by a command in the guest. */
const inGuest = ({ uuid }: InstanceRef, command: string): Promise<string> => commandInGuest(client, uuid, command);

describe("an instance that boots", () => {
  it("gives back a volume that it was asked for before it could hear it", T, async () => {
    one = await make("one", true);
    const early = await volume("early");
    await driver.attachVolume(one, early);
    await driver.detachVolume(one, early);
    expect(await volumes(one)).toEqual([[], []]);
  });
});

describe("a volume that several instances share", () => {
  it("is theirs until the last gives it back; one that is not shared is of one instance alone", T, async () => {
    const shared = await volume("shared", { multiattach: true });
    const own = await volume("own");
    two = await make("two", false);
    await driver.attachVolume(one, shared, { tag: "data" });
    await driver.attachVolume(two, shared, { bus: "scsi", tag: "scratch" });
    await driver.attachVolume(one, own);
    await expect(driver.attachVolume(two, own)).rejects.toMatchObject({ code: "CONFLICT" });
    await driver.powerOn(two);
    await driver.pause(two);
    for (const instance of [one, two])
      expect((await disks(instance, "live")).find(({ serial }) => serial === "shared")).toMatchObject({
        shareable: true,
        driver: { cache: "none" },
        source: { file: join(host.volumeDirectory, "shared") },
      });
    expect(await driver.listTaggedDevices(two)).toEqual([
      { type: "disk", id: "volume-shared", tag: "scratch", serial: "shared", bus: "scsi", address: "0:0:0:0" },
    ]);
    const [tagged] = await driver.listTaggedDevices(one);
    expect(tagged).toMatchObject({ type: "disk", tag: "data", serial: "shared", bus: "pci" });
    // The guest finds it there, too.
    await waitFor(
      () =>
        inGuest(one, "true").then(
          () => true,
          () => false,
        ),
      { timeoutMs: 90_000, what: "an agent" },
    );
    const found = await inGuest(
      one,
      "for d in /sys/block/vd*; do echo $(cat $d/serial) $(basename $(readlink -f $d/device/..)); done",
    );
    expect(found.split("\n")).toContain(`shared ${tagged?.address}`);
    await driver.powerOff(two, { graceMs: 0 });
    await driver.detachVolume(two, shared);
    expect(await volumes(one)).toEqual([
      ["own", "shared"],
      ["own", "shared"],
    ]);
    const alone = { ...shared, multiattach: false };
    await expect(driver.attachVolume(two, alone)).rejects.toMatchObject({ code: "CONFLICT" });
    await driver.detachVolume(one, shared);
    await driver.detachVolume(one, own);
    await driver.attachVolume(two, alone);
    await driver.detachVolume(two, alone);
  });
});

describe("a volume that comes or goes when somebody dies", () => {
  async function nothingIsLeft(): Promise<void> {
    await waitFor(async () => (await volumes(one)).flat().length === 0, { timeoutMs: 90_000, what: "a guest without" });
    await waitFor(async () => (await client.listAllSecrets()).length === 0, { timeoutMs: 60_000, what: "no secrets" });
    expect((await driver.listDisks(one)).flatMap(({ volumeId }) => volumeId ?? [])).toEqual([]);
    // Nobody has it connected.
    await driver.attachVolume(two, sealed);
    await driver.detachVolume(two, sealed);
  }

  /** The driver's process dies when a call has left, and another one comes. */
  async function crash(request: Pick<HotplugRequest, "act" | "call" | "nth">): Promise<void> {
    await driver.close();
    const { uri } = { uri: host.daemon.uri("qemu") };
    const paths = { stateDirectory: join(host.directory, "state"), images: join(host.directory, "images") };
    const all: HotplugRequest = {
      ...paths,
      ...request,
      uri,
      volumeDirectory: host.volumeDirectory,
      instance: one,
      connection: sealed,
    };
    const child = spawnProcess(process.execPath, ["--import", "tsx", CHILD, JSON.stringify(all)], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const [, signal] = (await once(child, "close")) as [number | null, string | null];
    expect(signal, said).toBe("SIGKILL");
    driver = await open();
  }

  it.each([
    { call: "secretSetValue", nth: 1 },
    { call: "domainAttachDeviceFlags", nth: 1 },
  ])("is not the instance's when the driver's process dies in $call", T, async (point) => {
    await crash({ act: "attachVolume", ...point });
    await nothingIsLeft();
    await driver.attachVolume(one, sealed);
    expect(await volumes(one)).toEqual([["sealed"], ["sealed"]]);
    await driver.detachVolume(one, sealed);
    await nothingIsLeft();
  });

  it("is still the instance's when the driver's process dies while the guest is asked for it", T, async () => {
    await driver.attachVolume(one, sealed);
    // The first takes it out of what the guest starts with.
    await crash({ act: "detachVolume", call: "domainDetachDeviceAlias", nth: 2 });
    expect((await driver.listDisks(one)).flatMap(({ volumeId }) => volumeId ?? [])).toEqual(["sealed"]);
    await driver.detachVolume(one, sealed);
    await nothingIsLeft();
  });

  it("is not the instance's when the daemon dies while it is attached", T, async () => {
    for (const stopped of [true, false]) {
      // A daemon that stands still never does what it is asked; one that runs may.
      if (stopped) await host.daemon.kill("SIGSTOP");
      const attaching = driver.attachVolume(one, sealed).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (!stopped) await waitFor(async () => (await client.listAllSecrets()).length > 0, { timeoutMs: 60_000 });
      await host.daemon.kill("SIGKILL");
      await host.daemon.start();
      const failure = await attaching;
      if (failure !== undefined) expect(failure).toMatchObject({ code: "HYPERVISOR_UNAVAILABLE" });
      await waitFor(() => driver.getInfo(one).then(({ stale }) => !stale), { timeoutMs: 60_000, what: "the daemon" });
      await driver.detachVolume(one, sealed);
      await nothingIsLeft();
    }
  });
});

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { chmod, copyFile, mkdir, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { Secret } from "../../../src/core/index.js";
import type { GuestDisk, InstanceRef } from "../../../src/driver/index.js";
import { KvmDriver } from "../../../src/kvm/index.js";
import type * as Qmp from "../../../src/qmp/index.js";
import { FileSecretStore, LuksFormat, MemorySecretStore, SourceInspector } from "../../../src/storage/index.js";
import type { DiskSource, EncryptedSource, SecretStore, VolumeConnection } from "../../../src/storage/index.js";
import { bootSector, requirePackages, temporaryDirectory, waitFor, waitForFile } from "../../lab/index.js";
import type { TemporaryDirectory } from "../../lab/index.js";
import { CHAP, ISCSI_TARGET, withIscsiTarget } from "../storage/iscsi-target.js";
import { MIB, Tools } from "./block-lab.js";
import { KvmLab, disk } from "./lab.js";

beforeAll(() => requirePackages("qemu-system-x86_64", "qemu-img", "qemu-nbd", "tgtd", "QEMU's iSCSI driver"));

/** What goes between the driver and QEMU, as transcripts have it. */
const transcript = vi.hoisted((): string[] => []);
vi.mock("../../../src/qmp/index.js", async (original) => {
  const qmp = await original<typeof Qmp>();
  class QmpClient extends qmp.QmpClient {
    constructor(...[endpoint, options]: ConstructorParameters<typeof Qmp.QmpClient>) {
      super(endpoint, { ...options, transcript: ({ text }) => transcript.push(text) });
    }
  }
  return { ...qmp, QmpClient };
});
// Of all tests of this file.
afterAll(() => {
  const texts = transcript.join("\n");
  expectSecret(texts);
  expect(texts).not.toContain(CHAP.password);
  expect(texts).toMatch(/"object-add".*"secret"/);
});

/** Texts that stand nowhere but where they must. */
const PASSPHRASE = "correct-horse, battery='staple'";
const OTHER = "another-passphrase-of-a-volume";
const quick = { iterationMs: 10 } as const;

async function openLab(options: Parameters<typeof KvmLab.open>[0] = {}): Promise<KvmLab> {
  const lab = await KvmLab.open(options);
  await putSecrets(lab.secrets);
  return lab;
}

async function putSecrets(secrets: SecretStore): Promise<void> {
  await secrets.put("vol", Secret.of(PASSPHRASE));
  await secrets.put("vol-2", Secret.of(OTHER));
}

function bootDisk(path = bootSector()): GuestDisk {
  return disk("root", "vda", path, { readOnly: true, bootIndex: 0 });
}

function encrypted(path: string, secretId = "vol", format: "raw" | "qcow2" = "raw"): EncryptedSource {
  return { type: "file", path, format, encryption: { format: "luks", secretId } };
}

/** Containers of 8 MiB that were made once: making one takes seconds of CPU time. */
let made: TemporaryDirectory;
const MADE = [
  ["vol", "raw"],
  ["vol-2", "raw"],
  ["vol-2", "qcow2"],
] as const;
beforeAll(async () => {
  made = await temporaryDirectory("hvl-");
  const secrets = new MemorySecretStore();
  await putSecrets(secrets);
  for (const [id, format] of MADE) {
    const source = encrypted(made.file(`${id}.${format}`), id, format);
    await new LuksFormat({ secrets }).format(source, { sizeBytes: 8 * MIB, ...quick });
  }
}, 120_000);
afterAll(() => made.remove());

async function container(
  lab: KvmLab,
  name: string,
  secretId: "vol" | "vol-2" = "vol",
  format: "raw" | "qcow2" = "raw",
): Promise<EncryptedSource> {
  const path = lab.directory.file(name);
  await copyFile(made.file(`${secretId}.${format}`), path);
  return encrypted(path, secretId, format);
}

function dataDisk(source: DiskSource, overrides: Partial<GuestDisk> = {}): GuestDisk {
  return disk("data", "vdb", "/none", { source, ...overrides });
}

/** Whether the disk, decrypted, begins with 64 KiB of the pattern. */
async function holds(lab: KvmLab, source: DiskSource, byte: number): Promise<boolean> {
  const found = await pattern(lab, source);
  return found.length === 1 && found[0] === byte;
}

/** The bytes that the disk, decrypted, begins with, each once in a row. */
async function pattern(lab: KvmLab, source: DiskSource): Promise<readonly number[]> {
  const path = lab.directory.file("plain.raw");
  const inspector = new SourceInspector({ secrets: lab.secrets });
  const place = `driver=luks,key-secret=disk0-key,file.driver=file,file.filename=${(source as { path: string }).path}`;
  await inspector.run(source, ["convert", "-O", "raw", "--image-opts", place, path], "copy");
  const bytes = (await readFile(path)).subarray(0, 65_536);
  return [...bytes].filter((byte, index) => index === 0 || byte !== bytes[index - 1]);
}

/** Takes the disk out of a guest that lets go of it only as it is reset, which may come before QEMU was asked. */
async function takeOut(guest: Awaited<ReturnType<KvmLab["define"]>>): Promise<void> {
  const taken = async (): Promise<boolean> => {
    const going = guest.detachDisk("data", { timeoutMs: 5_000 }).catch(() => "refused");
    await guest.reset();
    return (await going) === "detached";
  };
  await waitFor(taken, { timeoutMs: 90_000, what: "the guest to let go of its disk" });
}

/** Ids of QEMU's secrets. */
async function secretsIn(tools: Tools): Promise<string[]> {
  const objects = (await tools.execute("qom-list", { path: "/objects" })) as { name: string; type: string }[];
  return objects.flatMap(({ name, type }) => (type === "child<secret>" ? [name] : []));
}

async function textsBelow(directory: string, except = ""): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && entry.parentPath !== except);
  return Promise.all(files.map((entry) => readFile(join(entry.parentPath, entry.name), "latin1")));
}

/** Everything that a guest shows of itself to others on the host and in the process. */
async function visible(lab: KvmLab, uuid: string): Promise<string> {
  const pid = await lab.pid(uuid);
  const process =
    pid === undefined ? [] : ["cmdline", "environ"].map((name) => readFile(`/proc/${pid}/${name}`, "latin1"));
  const state = await textsBelow(lab.stateDirectory);
  return [...(await Promise.all(process)), ...state, JSON.stringify(lab.events)].join("\n");
}

function expectSecret(text: string): void {
  for (const secret of [PASSPHRASE, OTHER]) {
    expect(text).not.toContain(secret);
    expect(text).not.toContain(JSON.stringify(secret).slice(1, -1));
    expect(text).not.toContain(Buffer.from(secret).toString("base64"));
  }
}

/** Has a `qemu-nbd` export a file while the work goes on. */
async function exported<T>(lab: KvmLab, path: string, work: (server: DiskSource) => Promise<T>): Promise<T> {
  const [socket, pidFile] = [lab.directory.file("nbd.sock"), lab.directory.file("nbd.pid")];
  const server = spawn("qemu-nbd", ["-t", "-e", "4", "-f", "raw", "-k", socket, "--pid-file", pidFile, path], {
    stdio: "ignore",
  });
  const ended = once(server, "exit");
  try {
    await waitForFile(pidFile);
    return await work({ type: "nbd", server: { type: "unix", path: socket }, exportName: "", format: "raw" });
  } finally {
    server.kill("SIGTERM");
    await ended;
  }
}

describe("a guest with an encrypted disk", () => {
  it("reads and writes it from its start on, keeps it through everything, and shows its key nowhere", async () => {
    await using lab = await openLab();
    const traces: string[] = [];
    const note = (message: unknown): void => void traces.push(inspect(message, { depth: 8 }));
    const channels = ["start", "error", "asyncEnd"].map((part) => `tracing:hypervise:host:command:${part}`);
    for (const name of channels) subscribe(name, note);
    try {
      const first = await container(lab, "a.luks");
      const second = await container(lab, "b.luks", "vol-2");
      const guest = await lab.define({ disks: [bootDisk(), dataDisk(first)] });
      await guest.start();
      {
        await using tools = await Tools.open(lab, guest.uuid);
        await tools.write(1, 7, "0", "64k");
        expect((await tools.inventory()).nodes).toEqual([
          ...["disk0-format", "disk0-storage"],
          ...["disk1-format", "disk1-luks", "disk1-storage"],
        ]);
        expect(await secretsIn(tools)).toEqual(["disk1-key"]);
      }
      // A driver process that comes later moves it to a volume with a key of its own.
      await lab.reopen();
      const adopted = (await lab.hypervisor.find(guest.uuid))!;
      await adopted.mirrorDisk("data", second);
      {
        await using tools = await Tools.open(lab, guest.uuid);
        expect((await tools.inventory()).nodes).toEqual([
          ...["disk0-format", "disk0-storage"],
          ...["disk1-1-format", "disk1-1-luks", "disk1-1-storage"],
        ]);
        expect(await secretsIn(tools)).toEqual(["disk1-1-key"]);
        // What is a byte more where it is kept is a byte more in the guest: the header is not the guest's.
        const before = (await tools.qmp.execute("query-block")).find(({ qdev }) => qdev?.includes("disk1"));
        await adopted.resizeDisk("data", 10 * MIB);
        const after = (await tools.qmp.execute("query-block")).find(({ qdev }) => qdev?.includes("disk1"));
        const grown = Number(after?.inserted?.image["virtual-size"]) - Number(before?.inserted?.image["virtual-size"]);
        expect(grown).toBe(2 * MIB);
        expect((await readFile(lab.directory.file("b.luks"))).length).toBe(10 * MIB);
      }
      await adopted.copyDisk("data", lab.directory.file("copy.raw"), "raw");
      expect((await readFile(lab.directory.file("copy.raw"))).subarray(0, 65_536).every((byte) => byte === 7)).toBe(
        true,
      );
      expectSecret(await visible(lab, guest.uuid));
      // Out, and in again while it runs, and at its next start.
      await takeOut(adopted);
      {
        await using tools = await Tools.open(lab, guest.uuid);
        expect(await secretsIn(tools)).toEqual([]);
        await adopted.attachDisk(dataDisk(second));
        expect(await secretsIn(tools)).toHaveLength(1);
        await tools.write(2, 9, "0", "64k");
      }
      expectSecret(await visible(lab, guest.uuid));
      await adopted.kill();
      await adopted.start();
      expectSecret(await visible(lab, guest.uuid));
      expectSecret(inspect(await adopted.definition(), { depth: 9 }));
      await adopted.kill();
      expect(await holds(lab, first, 7)).toBe(true);
      expect(await holds(lab, second, 9)).toBe(true);
      const sealed = await readFile(lab.directory.file("b.luks"));
      expect(sealed.includes(Buffer.alloc(512, 9))).toBe(false);
      expectSecret(traces.join("\n"));
      expect(traces.join("\n")).toContain("key-secret=disk0-key");
    } finally {
      for (const name of channels) unsubscribe(name, note);
    }
  });

  it("is refused with a key that is wrong or not there, and nothing is left", async () => {
    await using lab = await openLab();
    const right = await container(lab, "a.luks");
    const path = lab.directory.file("a.luks");
    const cold = await lab.define({ disks: [bootDisk(), dataDisk(encrypted(path, "vol-2"))] });
    const refused: unknown[] = [];
    const refusal = (promise: Promise<unknown>): Promise<unknown> =>
      promise.then(
        () => undefined,
        (error: unknown) => {
          refused.push(error);
          return error;
        },
      );
    expect(await refusal(cold.start())).toMatchObject({ code: "DISK_KEY_REFUSED", device: "data" });
    expect((await cold.info()).state).toBe("shutdown");
    expect(await lab.pid(cold.uuid)).toBeUndefined();
    await lab.hypervisor.undefine(cold.uuid);

    const guest = await lab.define({ disks: [bootDisk()] });
    await guest.start();
    await using tools = await Tools.open(lab, guest.uuid);
    expect(await refusal(guest.attachDisk(dataDisk(encrypted(path, "vol-2"))))).toMatchObject({
      code: "DISK_KEY_REFUSED",
      device: "data",
    });
    expect(await refusal(guest.attachDisk(dataDisk(encrypted(path, "nobody"))))).toMatchObject({
      code: "SECRET_NOT_FOUND",
    });
    const plain = await lab.image("plain.raw");
    expect(await refusal(guest.attachDisk(dataDisk(encrypted(plain))))).toMatchObject({ code: "DISK_KEY_REFUSED" });
    expect(await refusal(guest.attachDisk(dataDisk(encrypted(lab.directory.file("none")))))).toMatchObject({
      code: "DEVICE_ATTACH_FAILED",
    });
    expect((await tools.inventory()).nodes).toEqual(["disk0-format", "disk0-storage"]);
    expect(await secretsIn(tools)).toEqual([]);
    expect((await guest.definition()).disks).toHaveLength(1);
    // The right one is taken afterwards; an overlay in plain text over it is not.
    await guest.attachDisk(dataDisk(right));
    const overlay = { type: "file", path: plain, format: "qcow2" } as const;
    expect(await refusal(guest.snapshotDisk("data", overlay))).toMatchObject({ code: "NOT_SUPPORTED" });
    for (const error of refused) expectSecret(`${inspect(error, { depth: 9 })} ${JSON.stringify(error)}`);
    await guest.kill();
  });

  it("shares it with another guest, by NBD and as another user", async () => {
    await using lab = await openLab(process.getuid?.() === 0 ? { runAs: { uid: 65_534, gid: 65_534 } } : {});
    await chmod(lab.directory.path, 0o711);
    const boot = lab.directory.file("boot.raw");
    await copyFile(bootSector(), boot);
    await container(lab, "a.luks");
    const within = await container(lab, "c.qcow2", "vol-2", "qcow2");
    const path = lab.directory.file("a.luks");
    await exported(lab, path, async (server) => {
      await chmod(lab.directory.file("nbd.sock"), 0o666);
      const source: DiskSource = { ...server, encryption: { format: "luks", secretId: "vol" } };
      const shared = dataDisk(source, { shareable: true });
      const one = await lab.define({
        disks: [bootDisk(boot), shared, disk("more", "vdc", "/none", { source: within })],
      });
      const other = await lab.define({ disks: [bootDisk(boot)] });
      await one.start();
      await other.start();
      await other.attachDisk(shared);
      {
        await using tools = await Tools.open(lab, one.uuid);
        expect((await secretsIn(tools)).sort()).toEqual(["disk1-key", "disk2-key"]);
        await tools.write(1, 5, "0", "64k");
        await tools.io(1, "flush");
        await tools.write(2, 6, "0", "64k");
      }
      expectSecret(await visible(lab, one.uuid));
      await one.kill();
      await other.kill();
    });
    expect(await holds(lab, encrypted(path), 5)).toBe(true);
    expect(await new LuksFormat({ secrets: lab.secrets }).requireKey(within)).toBe(8 * MIB);
  });

  it("takes it along to another host that has the key", async () => {
    await using here = await openLab({ migration: { listenAddress: "127.0.0.1" } });
    await using there = await openLab({ migration: { listenAddress: "127.0.0.1" } });
    const source = await container(here, "a.luks");
    const guest = await here.define({ disks: [bootDisk(), dataDisk(source)] });
    await guest.start();
    {
      await using tools = await Tools.open(here, guest.uuid);
      await tools.write(1, 3, "0", "64k");
    }
    there.note(guest.uuid);
    const request = { copyDisks: [], paused: false, guest: await guest.describeMigration() };
    const { token } = await there.hypervisor.prepareIncoming(await guest.definition(), request);
    const how = { downtimeMs: 500, allowPostcopy: false, autoConverge: false, bandwidthMiBps: 0 };
    expect(await guest.migrate({ token, copyDisks: [], ...how }, {})).toBe("completed");
    const arrived = await there.hypervisor.finishIncoming(guest.uuid);
    {
      await using tools = await Tools.open(there, guest.uuid);
      await tools.write(1, 4, "0", "64k");
    }
    expectSecret(await visible(there, guest.uuid));
    expectSecret(JSON.stringify(token));
    await guest.kill();
    await arrived.kill();
    expect(await holds(there, source, 4)).toBe(true);
  });
});

describe("a guest with a volume of an iSCSI target", () => {
  it("reads and writes it, encrypted, from its start and while it runs, and shows neither password nor key", async () => {
    await using lab = await openLab();
    await lab.secrets.put("chap", Secret.of(CHAP.password));
    await mkdir(lab.directory.file("target"));
    await withIscsiTarget(lab.directory.file("target"), async (port) => {
      await copyFile(made.file("vol.raw"), lab.directory.file("target/unit.img"));
      const source: DiskSource = {
        type: "iscsi",
        portal: { host: "127.0.0.1", port },
        target: ISCSI_TARGET,
        lun: 1,
        format: "raw",
        auth: { username: CHAP.username, secretId: "chap" },
        encryption: { format: "luks", secretId: "vol" },
      };
      const guest = await lab.define({ disks: [bootDisk(), dataDisk(source)] });
      await guest.start();
      {
        await using tools = await Tools.open(lab, guest.uuid);
        expect((await secretsIn(tools)).sort()).toEqual(["disk1-key", "disk1-password"]);
        await tools.write(1, 5, "0", "64k");
      }
      await takeOut(guest);
      await guest.attachDisk(dataDisk(source));
      {
        await using tools = await Tools.open(lab, guest.uuid);
        await tools.write(2, 6, "0", "32k");
      }
      const shown = await visible(lab, guest.uuid);
      expectSecret(shown);
      expect(shown).not.toContain(CHAP.password);
      await guest.kill();
    });
    const file = encrypted(lab.directory.file("target/unit.img"));
    expect(await pattern(lab, file)).toEqual([6, 5]);
  });
});

/** Whatever has become of a test, no guest of it goes on. */
async function endAll(driver: KvmDriver, instances: readonly InstanceRef[]): Promise<void> {
  for (const instance of instances) await driver.destroy(instance).catch(() => undefined);
  await driver.close();
}

describe("an instance of the driver", () => {
  it("boots from an encrypted volume, is given others, and keeps its keys in the host's own store", async () => {
    await using directory = await temporaryDirectory("hve-");
    const stateDirectory = directory.file("state");
    const secrets = new FileSecretStore({ directory: join(stateDirectory, "secrets") });
    await putSecrets(secrets);
    const volumes = join(stateDirectory, "volumes");
    await mkdir(volumes, { recursive: true });
    const volume = async (volumeId: string, secretId: "vol" | "vol-2", more: Partial<VolumeConnection> = {}) => {
      const path = join(volumes, volumeId);
      await copyFile(made.file(`${secretId}.raw`), path);
      const connection: VolumeConnection = {
        volumeId,
        type: "local",
        data: { path, format: "raw" },
        encryption: { format: "luks", secretId },
        ...more,
      };
      return connection;
    };
    const boot = await volume("boot", "vol");
    const inside = `driver=luks,key-secret=disk0-key,file.driver=file,file.filename=${join(volumes, "boot")}`;
    const words = ["convert", "-n", "-f", "raw", "--target-image-opts", bootSector(), inside];
    await new SourceInspector({ secrets }).run(encrypted(join(volumes, "boot")), words, "copy");

    const open = (): KvmDriver => new KvmDriver({ stateDirectory, accelerator: "tcg" });
    const first = open();
    let succeeded = false;
    const [one, two] = ["one", "two"].map((name) => ({ uuid: randomUUID(), name })) as [InstanceRef, InstanceRef];
    const flavor = { vcpus: 1, memoryMiB: 32, rootGiB: 0 };
    const shared = await volume("shared", "vol", { multiattach: true });
    const [data, next] = [await volume("data", "vol-2"), await volume("next", "vol")];
    try {
      await first.initHost();
      const spec = { ...one, flavor, blockDevices: [{ connection: boot, bootIndex: 0 }, { connection: shared }] };
      const planned = inspect(await first.plan(spec), { depth: 12, maxArrayLength: null, maxStringLength: null });
      expect(planned).toMatch(/key-secret.*disk0-key/);
      expectSecret(planned);
      await first.spawn(spec);
      await waitFor(async () => Buffer.from((await first.getConsoleOutput(one)).bytes).includes("HV-BOOT"), {
        timeoutMs: 90_000,
      });
      await first.spawn({ ...two, flavor, blockDevices: [{ connection: shared, bootIndex: 0 }] });
      await first.attachVolume(one, data);
      await first.extendVolume(one, data, 8 * MIB);
      expect(await first.swapVolume(one, data, next)).toMatchObject({
        volumeId: "next",
        source: { encryption: next.encryption },
      });
      const wrong = { ...data, encryption: { format: "luks", secretId: "vol" } } as const;
      await expect(first.attachVolume(one, wrong)).rejects.toMatchObject({
        code: "DISK_KEY_REFUSED",
        device: "volume-data.2",
      });
      expect((await first.listDisks(one)).map(({ volumeId }) => volumeId)).toEqual(["boot", "shared", "next"]);
      succeeded = true;
    } finally {
      await (succeeded ? first.close() : endAll(first, [one, two]));
    }
    const later = open();
    await using _ended = { [Symbol.asyncDispose]: () => endAll(later, [one, two]) };
    await later.initHost();
    await later.reboot(one, "hard");
    await later.powerOff(one, { graceMs: 0 });
    await later.detachVolume(one, next);
    const kept = (await textsBelow(stateDirectory, join(stateDirectory, "secrets"))).join("\n");
    expectSecret(kept);
    for (const instance of [one, two]) await later.destroy(instance);
    expect(await readdir(join(stateDirectory, "guests"))).toEqual([]);
  });
});

// What nfs-mount-long.test.ts has done where the kernel has NFS: a bundled program, since a guest of an emulated processor takes long to read sources.
// Each part is one line of JSON, a `PartResult`. Run as `node FILE`, with this kernel's NFS, loopback and `/proc/fs/nfsd` for itself.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { MemoryStateStore, systemClock } from "../../../src/core/index.js";
import type { StateStore } from "../../../src/core/index.js";
import { systemCommandRunner } from "../../../src/host/index.js";
import { KvmHypervisor } from "../../../src/kvm/index.js";
import { MemorySecretStore, NfsVolumeConnector, supportsDirectIo } from "../../../src/storage/index.js";
import type { DiskSource, VolumeConnection } from "../../../src/storage/index.js";
import { waitFor } from "../../lab/wait-for.js";
import { KernelNfsServer } from "./kernel-nfs-server.js";
import { writingGuest } from "./writing-guest.js";

export interface PartResult {
  readonly part: string;
  /** Absent: all was as it has to be. */
  readonly error?: string;
}

export const PARTS = [
  "a guest reads and writes it, and finds what it wrote when it is mounted anew",
  "volumes of an export share a mount, and are seen to grow",
  "it is let go of when its server says nothing any more, and mounted when it comes back",
  "a process that dies as it has mounted leaves what the next one finds and takes away",
] as const;

const MIB = 1_048_576;
const BOOT_MS = 240_000;
const A = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";
const B = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b002";

const root = await mkdtemp(join(tmpdir(), "nfs-"));
const server = await KernelNfsServer.start(join(root, "server"));
let mountRoot = join(root, "mounts-");
let state = new MemoryStateStore();
let connector = connectorOf();

/** No part has anything of another's, whatever has become of that. */
async function startAnew(part: number): Promise<void> {
  await server.comeBack();
  for (const line of await mounts()) await systemCommandRunner.run(["umount", "-l", line.split(" ")[1] ?? ""]);
  mountRoot = join(root, `mounts-${part}`);
  state = new MemoryStateStore();
  connector = connectorOf();
}

/** `waitMs`: for a server that answers it is enough many times over. */
function connectorOf(waitMs = 120_000): NfsVolumeConnector {
  return new NfsVolumeConnector({ mountRoot, state, answerMs: waitMs, mountMs: waitMs });
}

function volume(name: string, more: Partial<VolumeConnection> = {}): VolumeConnection {
  const data = { export: `${server.address}:/`, name, format: "raw", options: "vers=4.2,retrans=1,timeo=20" };
  return { volumeId: `vol-${name}`, type: "nfs", data, ...more };
}

/** Lines of the mount table. */
async function mounts(): Promise<readonly string[]> {
  const lines = (await readFile("/proc/self/mounts", "utf8")).split("\n");
  return lines.filter((line) => line.includes(join(root, "mounts-")));
}

async function expectNothingLeft(): Promise<void> {
  assert.deepEqual(await mounts(), []);
  assert.equal(state.size, 0);
}

function pathOf(source: DiskSource): string {
  assert.equal(source.type, "file");
  return (source as { readonly path: string }).path;
}

/** Boots from the volume until the guest has said and written what it has to. */
async function boots(hypervisor: KvmHypervisor, saying: string): Promise<void> {
  const source = await connector.connect(volume("a"), A);
  // As Nova has it: past this host's page cache, so that another host sees what is written.
  assert.equal(await supportsDirectIo(pathOf(source)), true);
  const guest = await hypervisor.define({
    uuid: randomUUID(),
    name: "on-nfs",
    vcpus: 1,
    memoryMiB: 32,
    firmware: "bios",
    guestAgent: false,
    nics: [],
    disks: [
      {
        id: "root",
        source,
        bus: "virtio",
        deviceType: "disk",
        deviceName: "vda",
        readOnly: false,
        shareable: false,
        bootIndex: 0,
        tuning: { cache: "none" },
      },
    ],
  });
  await guest.start();
  let said = "";
  const over = async (): Promise<boolean> => {
    said = Buffer.from((await guest.consoleLog({ maxBytes: 100_000 })).bytes).toString("latin1");
    return /WROTE|FAILED/.test(said);
  };
  await waitFor(over, { timeoutMs: BOOT_MS, what: "the guest", detail: () => said });
  assert.match(said, new RegExp(`${saying.replaceAll(/[[\]]/g, "\\$&")} WROTE`));
  await guest.kill();
  await hypervisor.undefine(guest.uuid);
  await connector.disconnect(volume("a"), A);
  await expectNothingLeft();
}

const work: Readonly<Record<(typeof PARTS)[number], () => Promise<void>>> = {
  [PARTS[0]]: async () => {
    await writeFile(join(server.directory, "a"), writingGuest("nfs", MIB));
    await connector.connect(volume("a"), A);
    assert.match((await mounts()).join("\n"), /^127\.0\.0\.1:\/ \S+ nfs4 rw,nosuid,nodev,noexec,.*vers=4\.2,[^\n]*$/);
    // An emulated processor within an emulated processor.
    const hypervisor = new KvmHypervisor({
      accelerator: "tcg",
      stateDirectory: join(root, "state"),
      timeouts: {
        ...{ probeMs: BOOT_MS, acceleratorProbeMs: BOOT_MS, startMs: BOOT_MS, queryMs: BOOT_MS },
        ...{ commandMs: BOOT_MS, killMs: BOOT_MS, quitMs: BOOT_MS, exitMs: BOOT_MS, consoleMs: BOOT_MS },
      },
    });
    await hypervisor.open({ clock: systemClock, onEvent: () => undefined, secrets: new MemorySecretStore() });
    try {
      await boots(hypervisor, "[nfs]");
      const written = await readFile(join(server.directory, "a"));
      assert.equal(written.subarray(1024, 1031).toString("latin1"), "[nfs]\0\0");
      await boots(hypervisor, "[nfs][nfs]");
    } finally {
      await hypervisor.close();
    }
  },

  [PARTS[1]]: async () => {
    const shared = volume("c", { multiattach: true });
    await Promise.all([connector.connect(volume("b"), A), connector.connect(shared, A)]);
    await connector.connect(shared, B);
    assert.equal((await mounts()).length, 1);
    await assert.rejects(connector.connect(volume("b"), B), { code: "CONFLICT" });
    await truncate(join(server.directory, "b"), 8192);
    assert.equal(await connector.extend(volume("b"), A, 8192), 8192);
    await assert.rejects(connector.connect(volume("none"), A), { code: "VOLUME_CONNECT_FAILED" });
    await connector.disconnect(volume("b"), A);
    await connector.disconnect(shared, B);
    assert.equal((await mounts()).length, 1);
    await connector.disconnect(shared, A);
    await expectNothingLeft();
  },

  [PARTS[2]]: async () => {
    await connector.connect(volume("b"), A);
    const impatient = connectorOf(8_000);
    await server.fallSilent();
    await assert.rejects(impatient.connect(volume("c"), B), { code: "VOLUME_CONNECT_FAILED", device: "vol-c" });
    await assert.rejects(impatient.extend(volume("b"), A, 1), { code: "VOLUME_CONNECT_FAILED" });
    assert.deepEqual(await impatient.instancesOf("vol-b"), [A]);
    await impatient.disconnect(volume("b"), A);
    await expectNothingLeft();
    await assert.rejects(impatient.connect(volume("b"), A), { code: "VOLUME_CONNECT_FAILED" });
    await expectNothingLeft();
    await server.comeBack();
    assert.ok((await stat(pathOf(await connector.connect(volume("b"), A)))).size >= 4096);
    await connector.disconnect(volume("b"), A);
    await expectNothingLeft();
  },

  [PARTS[3]]: async () => {
    // What was durable when the process came to its end: nothing is written or taken back any more.
    const durable = new MemoryStateStore();
    let over = false;
    const ending: StateStore = {
      get: (key) => durable.get(key),
      list: (prefix) => durable.list(prefix),
      put: (key, value) => (over ? new Promise(() => undefined) : durable.put(key, value)),
      delete: (key) => (over ? new Promise(() => undefined) : durable.delete(key)),
    };
    const mounted = new Promise<void>((resolve) => {
      const dying = new NfsVolumeConnector({
        mountRoot,
        state: ending,
        commands: {
          run: async (argv, options) => {
            await systemCommandRunner.run(argv, options);
            over = true;
            resolve();
            return new Promise(() => undefined);
          },
        },
      });
      void dying.connect(volume("b"), A);
    });
    await mounted;
    assert.equal((await mounts()).length, 1);
    const next = new NfsVolumeConnector({ mountRoot, state: durable });
    assert.deepEqual(await next.instancesOf("vol-b"), [A]);
    await next.connect(volume("b"), A);
    assert.equal((await mounts()).length, 1);
    await next.disconnect(volume("b"), A);
    assert.equal(durable.size, 0);
    await expectNothingLeft();
  },
};

for (const name of ["b", "c"]) await writeFile(join(server.directory, name), Buffer.alloc(4096, name));
for (const [index, part] of PARTS.entries()) {
  await startAnew(index);
  const result: PartResult = await work[part]().then(
    () => ({ part }),
    (error: unknown) => ({ part, error: inspect(error, { depth: 6 }) }),
  );
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
await startAnew(PARTS.length);
await server[Symbol.asyncDispose]();
process.exit(0);

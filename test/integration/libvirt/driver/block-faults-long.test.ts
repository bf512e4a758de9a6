// Work on a guest's disks and memory, with each of its calls to libvirt failing once: then all is as before, or the work has been done after all.
import { mkdir, mkdtemp, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { MemoryStateStore, Secret, isHyperviseError, systemClock } from "../../../../src/core/index.js";
import type { GuestDefinition, GuestDisk } from "../../../../src/driver/index.js";
import { emptyQcow2 } from "../../../../src/libvirt/driver/block/empty-qcow2.js";
import { LibvirtHypervisor } from "../../../../src/libvirt/driver/index.js";
import { readDomain } from "../../../../src/libvirt/driver/plan/index.js";
import { ErrorDomain, ErrorNumber, LibvirtClient, parseDomainXml } from "../../../../src/libvirt/index.js";
import { MemorySecretStore } from "../../../../src/storage/index.js";
import type { DiskSource } from "../../../../src/storage/index.js";
import { SimulatedLibvirtHost } from "../../../../src/testing/libvirt/index.js";
import { waitFor } from "../../../lab/index.js";

const KINDS = ["refused", "carried out, then refused", "carried out, then hung up"] as const;
const UUID = "5d1f9bd4-9d4a-4f0c-8f5a-0c3a2a0b7c11";
const SIZE = 1_048_576;
const HEADER_SECTORS = 64;

type Guest = Awaited<ReturnType<LibvirtHypervisor["define"]>>;

/** A hypervisor on a simulated daemon, with a running guest whose disk `data` is a file. */
class Stage {
  readonly host: SimulatedLibvirtHost;
  readonly directory: string;
  readonly #state = new MemoryStateStore();
  readonly #secrets = new MemorySecretStore();
  hypervisor: LibvirtHypervisor;

  private constructor(host: SimulatedLibvirtHost, directory: string) {
    this.host = host;
    this.directory = directory;
    this.hypervisor = this.#make();
  }

  static async open(): Promise<Stage> {
    const stage = new Stage(await SimulatedLibvirtHost.create(), await mkdtemp(join(tmpdir(), "bf-")));
    await stage.#secrets.put("disk-key", Secret.of("open-sesame"));
    await stage.#open();
    return stage;
  }

  async reopen(): Promise<void> {
    await this.hypervisor.close();
    this.hypervisor = this.#make();
    await this.#open();
  }

  path(name: string): string {
    return join(this.directory, "files", name);
  }
  file(name: string, format: "raw" | "qcow2" = "qcow2"): DiskSource {
    return { type: "file", path: this.path(name), format };
  }

  /** Fresh files, and the guest running on the first. */
  async guest(): Promise<Guest> {
    const { head, fileBytes } = emptyQcow2(SIZE);
    await rm(join(this.directory, "files"), { recursive: true, force: true });
    await mkdir(join(this.directory, "files"));
    for (const name of ["data", "target"]) {
      await writeFile(this.path(name), head);
      await truncate(this.path(name), fileBytes);
    }
    await writeFile(this.path("overlay"), overlayOf(head, this.path("data")));
    await writeFile(this.path("raw"), Buffer.alloc(2 * SIZE));
    const luks = Buffer.alloc(HEADER_SECTORS * 512 + 2 * SIZE);
    luks.write("LUKS\xba\xbe\x00\x01", "latin1");
    luks.writeUInt32BE(HEADER_SECTORS, 104);
    await writeFile(this.path("luks"), luks);
    this.host.setFileSize(this.path("data"), BigInt(SIZE));
    const guest = await this.hypervisor.define(definition([disk("data", "vdb", this.file("data"))]));
    await guest.start();
    return guest;
  }

  async remove(): Promise<void> {
    const guest = await this.hypervisor.find(UUID);
    await guest?.kill();
    await this.hypervisor.undefine(UUID);
    expect((await this.ledger()).filter((line) => !line.startsWith("file"))).toEqual([]);
  }

  /** All that is there: libvirt's domain with its jobs, checkpoints and snapshots, secrets, our state, files. */
  async ledger(): Promise<readonly string[]> {
    await using client = await LibvirtClient.open("qemu:///system", { connect: this.host.connector });
    const lines: string[] = [];
    for (const domain of await client.listAllDomains()) {
      const disks = async (flags: readonly "inactive"[]): Promise<string> =>
        readDomain(parseDomainXml(await domain.getXmlDesc({ flags })))
          .disks.map(({ id, source, format }) => `${id}=${source}/${format}`)
          .join(" ");
      const { state } = await domain.getState();
      lines.push(`domain ${domain.name} ${state} [${await disks([])}] [${await disks(["inactive"])}]`);
      const jobs = await domain.getJobStats();
      if (jobs.type !== 0) lines.push(`job ${String(jobs.params["operation"])}`);
      if (state === 1 && (await domain.getBlockJobInfo("vdb")).found !== 0) lines.push("block job");
      for (const { name } of await domain.listAllCheckpoints()) lines.push(`checkpoint ${name.replace(/\d+/, "N")}`);
      for (const { name } of await domain.listAllSnapshots()) lines.push(`snapshot ${name}`);
    }
    const { secrets } = this.host.contents;
    const states = await Promise.all((await this.#state.list("")).map(async (key) => this.#state.get(key)));
    const files = await readdir(join(this.directory, "files")).catch((): string[] => []);
    const sizes = await Promise.all(files.map(async (name) => `file ${name} ${(await stat(this.path(name))).size}`));
    const plain = states.map((state) =>
      `state ${JSON.stringify(state)}`.replace(/"(startedAt|createdAt)":\d+/g, "$1").replace(/hypervise-\d+/g, "N"),
    );
    return [...lines, ...secrets.map((uuid) => `secret ${uuid}`), ...plain, ...sizes].sort();
  }

  async close(): Promise<void> {
    await this.hypervisor.close();
    await this.host.close();
    await rm(this.directory, { recursive: true, force: true });
  }

  #open(): Promise<void> {
    return this.hypervisor.open({ clock: systemClock, onEvent: () => undefined, secrets: this.#secrets });
  }
  #make(): LibvirtHypervisor {
    return new LibvirtHypervisor({
      stateDirectory: this.directory,
      virtType: "qemu",
      state: this.#state,
      connection: { connect: this.host.connector },
      timeouts: { queryMs: 2_000, killMs: 5_000, callMs: 5_000, cancelMs: 5_000 },
    });
  }
}

interface Scenario {
  readonly name: string;
  arrange?(guest: Guest, stage: Stage): Promise<void>;
  act(guest: Guest, stage: Stage): Promise<void>;
  /** What it does is done again by a second call, and harmless when it is half-done. */
  readonly forward?: boolean;
}

const SCENARIOS: readonly Scenario[] = [
  { name: "resizeDisk", forward: true, act: (guest) => guest.resizeDisk("data", 2 * SIZE) },
  { name: "mirrorDisk", act: (guest, stage) => guest.mirrorDisk("data", stage.file("target")) },
  {
    name: "mirrorDisk to a larger, encrypted file",
    act: (guest, stage) =>
      guest.mirrorDisk("data", {
        ...stage.file("luks", "raw"),
        encryption: { format: "luks", secretId: "disk-key" },
      }),
  },
  { name: "snapshotDisk", act: (guest, stage) => guest.snapshotDisk("data", stage.file("overlay")) },
  {
    name: "commitDisk",
    arrange: (guest, stage) => guest.snapshotDisk("data", stage.file("overlay")),
    act: (guest, stage) => guest.commitDisk("data", stage.file("data")),
  },
  { name: "copyDisk", act: (guest, stage) => guest.copyDisk("data", stage.path("copy"), "raw") },
  {
    name: "backup",
    act: (guest, stage) =>
      guest.backup({
        disks: [{ diskId: "data", path: stage.path("copy"), format: "qcow2" }],
        checkpoint: "monday",
      }),
  },
  {
    name: "backup of what has changed",
    arrange: (guest, stage) =>
      guest.backup({
        disks: [{ diskId: "data", path: stage.path("whole"), format: "qcow2" }],
        checkpoint: "monday",
      }),
    act: (guest, stage) =>
      guest.backup({
        disks: [{ diskId: "data", path: stage.path("copy"), format: "qcow2" }],
        since: "monday",
        checkpoint: "tuesday",
      }),
  },
  {
    name: "deleteCheckpoint",
    forward: true,
    arrange: (guest, stage) =>
      guest.backup({
        disks: [{ diskId: "data", path: stage.path("whole"), format: "qcow2" }],
        checkpoint: "monday",
      }),
    act: (guest) => guest.deleteCheckpoint("monday"),
  },
  { name: "dumpMemory", act: (guest, stage) => guest.dumpMemory(stage.path("dump"), "elf") },
];

describe("a call of libvirt's that fails during work on disks or memory", () => {
  it.for(SCENARIOS.map((scenario) => [scenario.name, scenario] as const))(
    "leaves nothing half-done: %s",
    { timeout: 120_000 },
    async ([, scenario]) => {
      const stage = await Stage.open();
      try {
        const { calls, end } = await dryRun(stage, scenario);
        expect(calls.length).toBeGreaterThan(0);
        for (const kind of KINDS)
          for (const [index, name] of calls.entries()) {
            // A question has no effect to be told apart by.
            if (kind === "carried out, then refused" && /Get|List|Lookup/.test(name)) continue;
            const nth = calls.slice(0, index + 1).filter((other) => other === name).length;
            await strike(stage, scenario, kind, name, nth, end);
          }
      } finally {
        await stage.close();
      }
    },
  );

  it.for([
    ["mirrorDisk", (guest, stage) => guest.mirrorDisk("data", stage.file("raw", "raw"))],
    ["copyDisk", (guest, stage) => guest.copyDisk("data", stage.path("copy"), "raw")],
    ["commitDisk", (guest, stage) => guest.commitDisk("data", stage.file("data"))],
  ] as const satisfies readonly (readonly [string, Scenario["act"]])[])(
    "is made up for by the next process when this one is gone in the middle: %s",
    { timeout: 60_000 },
    async ([name, act]) => {
      const stage = await Stage.open();
      try {
        const guest = await stage.guest();
        if (name === "commitDisk") await guest.snapshotDisk("data", stage.file("overlay"));
        const before = await stage.ledger();
        stage.host.setBehaviour({ blockJobMs: 3_600_000 });
        const failing = failureOf(act(guest, stage));
        await waitFor(async () => (await stage.ledger()).some((line) => /^(block )?job/.test(line)));
        await stage.reopen();
        expect(isHyperviseError(await failing)).toBe(true);
        expect(await stage.ledger()).toEqual(before);
      } finally {
        await stage.close();
      }
    },
  );
});

/** An overlay on a file, by its header alone. */
function overlayOf(empty: Buffer, backing: string): Buffer {
  const image = Buffer.concat([empty, Buffer.alloc(65_536)]);
  // The header's extension with the format, and behind it the name.
  image.writeUInt32BE(0xe2792aca, 104);
  image.writeUInt32BE(5, 108);
  image.write("qcow2", 112, "ascii");
  image.writeBigUInt64BE(512n, 8);
  image.writeUInt32BE(Buffer.byteLength(backing), 16);
  image.write(backing, 512);
  return image;
}

function definition(disks: readonly GuestDisk[]): GuestDefinition {
  return { uuid: UUID, name: "guest", vcpus: 1, memoryMiB: 64, firmware: "bios", disks, nics: [], guestAgent: false };
}

function disk(id: string, deviceName: string, source: DiskSource): GuestDisk {
  return { id, source, bus: "virtio", deviceType: "disk", deviceName, readOnly: false, shareable: false };
}

async function strike(
  stage: Stage,
  { act, arrange, forward }: Scenario,
  kind: (typeof KINDS)[number],
  name: string,
  nth: number,
  end: readonly string[],
): Promise<void> {
  const label = `${name} #${nth} ${kind}`;
  const guest = await stage.guest();
  await arrange?.(guest, stage);
  const before = await stage.ledger();
  const { faults } = stage.host;
  const procedure = name as Parameters<typeof faults.refuse>[0];
  const error = { code: ErrorNumber.internalError, domain: ErrorDomain.qemu, message: "a fault" };
  const fault =
    kind === "carried out, then hung up"
      ? faults.hangUp(procedure, { nth, at: "after" })
      : faults.refuse(procedure, error, { nth, at: kind === "refused" ? "before" : "after" });
  const failure = await failureOf(act(guest, stage));
  fault.remove();
  if (failure === undefined) expect(await stage.ledger(), label).toEqual(end);
  else {
    expect(isHyperviseError(failure), `${label}: ${String(failure)}`).toBe(true);
    if (forward !== true) expect(await stage.ledger(), label).toEqual(before);
    await act(guest, stage);
    expect(await stage.ledger(), label).toEqual(end);
  }
  await stage.remove();
}

async function dryRun(
  stage: Stage,
  { act, arrange }: Scenario,
): Promise<{ readonly calls: readonly string[]; readonly end: readonly string[] }> {
  const guest = await stage.guest();
  await arrange?.(guest, stage);
  const { received } = stage.host.server;
  const first = received.length;
  await act(guest, stage);
  const calls = received.slice(first).map(({ name }) => name);
  const end = await stage.ledger();
  await stage.remove();
  return { calls, end };
}

function failureOf(work: Promise<unknown>): Promise<Error | undefined> {
  return work.then(
    () => undefined,
    (error: unknown) => error as Error,
  );
}

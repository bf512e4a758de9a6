// The libvirt driver against what others do by the same daemon: the list, the state and the counters of 200 guests, by `virsh` and by python3-libvirt; and
// `spawn()` until the guest runs against `virsh create` with the same definition. Needs root, libvirtd and QEMU; the 200 are a simulated host's in a process of its own.
import { execFile, spawn } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { systemClock } from "../src/core/index.js";
import { FakeProcess, FakeWorld, createFakeCollaborators } from "../src/fake/index.js";
import { LibvirtDriver } from "../src/libvirt/driver/index.js";
import { LibvirtClient } from "../src/libvirt/index.js";
import { DirectoryImageStore } from "../src/storage/index.js";
import { bootSector, temporaryDirectory } from "../test/lab/index.js";
import { startLibvirtd } from "../test/lab/libvirtd.js";

const GUESTS = Number(process.env["HYPERVISE_BENCH_GUESTS"] ?? 200);
const ROUNDS = Number(process.env["HYPERVISE_BENCH_ROUNDS"] ?? 9);
const run = promisify(execFile);
const simulation = fileURLToPath(new URL("support/simulated-libvirtd.ts", import.meta.url));
const peer = fileURLToPath(new URL("support/libvirt-list-peer.py", import.meta.url));

const round = (value: number): number => Number(value.toPrecision(3));
const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

async function callsOf(work: () => Promise<unknown>): Promise<number> {
  let calls = 0;
  const count = (): void => void calls++;
  subscribe("tracing:hypervise:libvirt:call:start", count);
  await work();
  unsubscribe("tracing:hypervise:libvirt:call:start", count);
  return calls;
}

const specOf = (number: number) =>
  ({
    uuid: `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`,
    name: `bench-${number}`,
    flavor: { vcpus: 1, memoryMiB: 64, rootGiB: 0 },
    imageId: "sector",
    vifs: [],
  }) as const;

await using directory = await temporaryDirectory("lvb-");
const images = new DirectoryImageStore({ directory: directory.file("images") });
await images.import({ id: "sector", format: "raw", path: bootSector() });

/** All counters of all guests, by one daemon that answers everybody alike. */
async function listing(): Promise<unknown> {
  const socket = directory.file("sock");
  const argv = ["--import", "tsx", simulation, socket];
  const host = spawn(process.execPath, argv, { stdio: ["pipe", "pipe", "inherit"] });
  await once(host.stdout, "data");
  const uri = `qemu+unix:///system?socket=${socket}`;
  // Their disks are nobody's business here.
  const collaborators = createFakeCollaborators(new FakeProcess(new FakeWorld({ clock: systemClock }).addHost()));
  const options = { stateDirectory: directory.file("listed"), virtType: "qemu", uri, collaborators } as const;
  await using driver = new LibvirtDriver(options);
  await driver.initHost();
  for (let number = 0; number < GUESTS; number++) await driver.spawn({ ...specOf(number), imageId: "cirros" });
  const look = async (): Promise<void> => {
    const uuids = await driver.listInstanceUuids();
    const { diagnostics, unanswered } = await driver.getAllDiagnostics();
    if (uuids.length !== GUESTS || diagnostics.length + unanswered.length !== GUESTS) throw new Error("not all guests");
  };
  const names: Record<string, () => Promise<unknown>> = {
    ours: look,
    virsh: async () => {
      const { stdout } = await run("virsh", ["-c", uri, "domstats"], { maxBuffer: 1 << 28 });
      if (stdout.split("Domain:").length !== GUESTS + 1) throw new Error("not all guests");
    },
  };
  const python = await run("/usr/bin/python3", ["-c", "import libvirt"]).then(
    () => true,
    () => false,
  );
  for (let i = 0; i < 3; i++) await look();
  const calls = await callsOf(look);
  const samples: Record<string, number[]> = {};
  for (let i = 0; i < ROUNDS; i++)
    for (const [name, work] of Object.entries(names)) (samples[name] ??= []).push(await timed(work));
  // A process of its own each, which tells the time without its start.
  if (python)
    for (const way of ["bulk", "each"]) {
      const { stdout } = await run("/usr/bin/python3", [peer, uri, way, String(ROUNDS)]);
      samples[`python3-libvirt ${way}`] = JSON.parse(stdout) as number[];
    }
  await driver.close();
  host.stdin.end();
  await once(host, "exit");
  const medians = Object.fromEntries(Object.entries(samples).map(([name, values]) => [name, round(median(values))]));
  const ours = medians["ours"] ?? Number.NaN;
  const ratios = Object.fromEntries(Object.entries(medians).map(([name, ms]) => [name, round(ours / ms)]));
  return { guests: GUESTS, ourCalls: calls, medianMs: medians, oursTo: ratios };
}

/** From the call until libvirt says that the guest runs. */
async function starting(): Promise<unknown> {
  await using daemon = await startLibvirtd();
  const uri = daemon.uri("qemu");
  const options = {
    stateDirectory: directory.file("started"),
    virtType: "qemu",
    uri,
    collaborators: { images },
  } as const;
  await using driver = new LibvirtDriver(options);
  await using client = await LibvirtClient.open(uri);
  await driver.initHost();
  const samples: Record<"spawn" | "virshCreate", number[]> = { spawn: [], virshCreate: [] };
  for (let number = 0; number < ROUNDS; number++) {
    const spec = specOf(number);
    samples.spawn.push(await timed(() => driver.spawn(spec)));
    const domain = await client.lookupDomainByUuid(spec.uuid);
    // Another name, and files of its own, as a transient domain.
    const xml = (await domain.getXmlDesc({ flags: ["inactive"] }))
      .replaceAll(spec.uuid, spec.uuid.replace("8000", "9000"))
      .replaceAll(spec.name, `raw-${number}`);
    await run("cp", [
      "-r",
      directory.file(`started/disks/${spec.uuid}`),
      directory.file(`started/disks/${spec.uuid.replace("8000", "9000")}`),
    ]);
    await run("mkdir", ["-p", directory.file(`started/guests/${spec.uuid.replace("8000", "9000")}`)]);
    const file = directory.file("domain.xml");
    await writeFile(file, xml);
    await driver.destroy(spec);
    samples.virshCreate.push(await timed(() => run("virsh", ["-c", uri, "create", file])));
    await (await client.lookupDomainByName(`raw-${number}`)).destroy();
  }
  const [spawn, virsh] = [median(samples.spawn), median(samples.virshCreate)];
  return { medianMs: { spawn: round(spawn), virshCreate: round(virsh) }, ratio: round(spawn / virsh) };
}

console.log(JSON.stringify({ listAndStatistics: await listing(), start: await starting() }));

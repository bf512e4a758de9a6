// libvirt calls: ours against the least that a client in Node can be, libvirt's C library, and the bindings to it, on one private
// daemon and its test driver in one run. Prints medians per call and the ratios of wall and CPU time. Needs root, and libvirtd.
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { LibvirtConnection } from "../src/libvirt/rpc/index.js";
import { startLibvirtd } from "../test/lab/libvirtd.js";
import { libvirtPeers } from "./support/libvirt-peers.js";
import type { PeerSample, PeerWork } from "./support/libvirt-peers.js";
import { RawLibvirtClient } from "./support/raw-libvirt-client.js";

const ROUNDS = 7;
const DOMAINS = 200;
const EVENTS = 200;
const source = fileURLToPath(new URL("../src/", import.meta.url));
const dist = fileURLToPath(new URL("../dist/libvirt/index.js", import.meta.url));

interface Scenario {
  readonly work: PeerWork;
  readonly count: number;
  readonly depth: number;
}

const scenarios: { readonly [name: string]: Scenario } = {
  versionInTurn: { work: "version", count: 3_000, depth: 1 },
  hostnameInTurn: { work: "hostname", count: 3_000, depth: 1 },
  hostnameFiveInFlight: { work: "hostname", count: 10_000, depth: 5 },
  hostnameThirtyTwoLanes: { work: "hostname", count: 10_000, depth: 32 },
  statisticsOfAllDomains: { work: "stats", count: 40, depth: 1 },
};

type Call = () => Promise<unknown>;

async function inLanes(call: Call, count: number, depth: number): Promise<void> {
  const lane = async (): Promise<void> => {
    for (let i = 0; i < Math.ceil(count / depth); i++) await call();
  };
  await Promise.all(Array.from({ length: depth }, lane));
}

async function measure(call: Call, { count, depth }: Scenario): Promise<PeerSample> {
  await inLanes(call, count / 10 + 1, depth);
  const cpu = process.cpuUsage();
  const start = performance.now();
  await inLanes(call, count, depth);
  const wallUs = ((performance.now() - start) * 1000) / count;
  const { user, system } = process.cpuUsage(cpu);
  return { wallUs, cpuUs: (user + system) / count };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}

const round = (value: number): number => Number(value.toPrecision(3));

function summary(samples: readonly PeerSample[]): PeerSample {
  return { wallUs: round(median(samples.map((s) => s.wallUs))), cpuUs: round(median(samples.map((s) => s.cpuUs))) };
}

async function compare(scenario: Scenario, clients: { readonly ours: Call; readonly raw: Call }): Promise<unknown> {
  const samples: Record<string, PeerSample[]> = { ours: [], raw: [] };
  for (let i = 0; i < ROUNDS; i++) {
    for (const name of ["ours", "raw"] as const) samples[name]?.push(await measure(clients[name], scenario));
    for (const [name, peer] of Object.entries(peers)) {
      const sample = await peer(uri, scenario.work, scenario.count, scenario.depth);
      if (sample !== undefined) (samples[name] ??= []).push(sample);
    }
  }
  const medians = Object.fromEntries(Object.entries(samples).map(([name, list]) => [name, summary(list)]));
  const ours = medians["ours"] as PeerSample;
  const against = Object.entries(medians).filter(([name]) => name !== "ours");
  return {
    ...medians,
    callsPerSecond: Math.round(1e6 / ours.wallUs),
    wallRatios: Object.fromEntries(against.map(([name, { wallUs }]) => [name, round(ours.wallUs / wallUs)])),
    cpuRatios: Object.fromEntries(against.map(([name, { cpuUs }]) => [name, round(ours.cpuUs / cpuUs)])),
  };
}

/** From the call that causes an event until its reader has it; beside the call alone. */
async function eventLatency(libvirt: LibvirtConnection): Promise<unknown> {
  const { dom } = await libvirt.call("domainLookupByName", { name: "bench-0" });
  const events = await libvirt.events("domain", ["lifecycle"], { object: dom });
  const [told, called]: [number[], number[]] = [[], []];
  for (let i = 0; i < EVENTS; i++) {
    const start = performance.now();
    const change = libvirt.call(i % 2 === 0 ? "domainCreate" : "domainDestroy", { dom });
    const event = events.next().then(() => told.push(performance.now() - start));
    await change;
    called.push(performance.now() - start);
    await event;
  }
  await events.return();
  const [event, call] = [median(told) * 1000, median(called) * 1000];
  return { eventUs: round(event), callUs: round(call), ratio: round(event / call) };
}

async function importCost(specifier: string, flags: readonly string[]): Promise<unknown> {
  const probe = fileURLToPath(new URL("support/import-cost.mjs", import.meta.url));
  const run = async (): Promise<Record<string, number>> => {
    const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", ...flags, probe, specifier]);
    return JSON.parse(stdout) as Record<string, number>;
  };
  const runs: Record<string, number>[] = [];
  for (let i = 0; i < 5; i++) runs.push(await run());
  return Object.fromEntries(
    ["ms", "residentBytes", "heapBytes"].map((name) => [name, round(median(runs.map((each) => each[name] ?? 0)))]),
  );
}

/** Bytes of what the generators wrote, types (which leave nothing behind) apart. */
function generatedBytes(): unknown {
  const files = readdirSync(join(source, "libvirt"), { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".gen.ts"),
  );
  const bytes = (list: readonly string[]): number =>
    list.reduce((sum, name) => sum + statSync(join(source, "libvirt", name)).size, 0);
  const isTypes = (name: string): boolean => /types\.gen\.ts$/.test(name);
  return { code: bytes(files.filter((name) => !isTypes(name))), types: bytes(files.filter(isTypes)) };
}

const folder = mkdtempSync(join(tmpdir(), "libvirt-bench-"));
const daemon = await startLibvirtd();
const uri = daemon.uri("test");
const peers = await libvirtPeers(folder);
try {
  const libvirt = await LibvirtConnection.open(uri);
  for (let i = 0; i < DOMAINS; i++) {
    const xml = `<domain type='test'><name>bench-${i}</name><memory>8192</memory><os><type>hvm</type></os></domain>`;
    await libvirt.call("domainDefineXml", { xml });
  }
  const raw = await RawLibvirtClient.open(daemon.socket, "test:///default");
  const nothing = Buffer.alloc(0);
  const works: Readonly<Record<PeerWork, { readonly ours: Call; readonly raw: Call }>> = {
    version: { ours: () => libvirt.call("connectGetLibVersion"), raw: () => raw.call(157, nothing) },
    hostname: { ours: () => libvirt.call("connectGetHostname"), raw: () => raw.call(59, nothing) },
    stats: {
      ours: () => libvirt.call("connectGetAllDomainStats", { doms: [], stats: 0, flags: 0 }),
      raw: () => raw.call(344, Buffer.alloc(12)),
    },
  };
  const result: Record<string, unknown> = {};
  for (const [name, scenario] of Object.entries(scenarios))
    result[name] = await compare(scenario, works[scenario.work]);
  result["eventLatency"] = await eventLatency(libvirt);
  raw.close();
  await libvirt.close();
  const built = existsSync(dist);
  if (!built)
    console.error("no built package: npm run build first; the import is measured from the sources, through tsx");
  console.log(
    JSON.stringify({
      floor: "minimal Node client, same daemon",
      unit: "microseconds per call",
      domains: DOMAINS,
      ...result,
      import: {
        of: built ? "dist" : "sources through tsx",
        ...((await (built
          ? importCost(pathToFileURL(dist).href, [])
          : importCost(pathToFileURL(join(source, "libvirt/index.ts")).href, ["--import", "tsx"]))) as object),
      },
      generatedBytes: generatedBytes(),
    }),
  );
} finally {
  await daemon.remove();
  rmSync(folder, { recursive: true, force: true });
}

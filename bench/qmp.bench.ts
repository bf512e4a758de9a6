// QMP round trips: ours against the least that a client in Node can be, and against minimal clients in C and Python, on the same
// server in the same run: one that does nothing, and a real QEMU. Prints medians per operation and the ratio of CPU time and of wall time.
import { fork, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { QmpClient } from "../src/qmp/index.js";
import { qmpPeers } from "./support/qmp-peers.js";
import { RawQmpClient } from "./support/raw-qmp-client.js";

/** What both clients are put through. */
interface Client {
  execute(command: string, args?: object): Promise<unknown>;
}

interface Sample {
  readonly wallUs: number;
  readonly cpuUs: number;
}

const ROUNDS = 7;
const EVENTS = 50_000;

interface Scenario {
  readonly operations: number;
  run(client: Client): Promise<void>;
  /** What the floor does, where it is not the same. */
  runFloor?(client: Client): Promise<void>;
}

async function inLanes(client: Client, lanes: number, each: number): Promise<void> {
  const lane = async (): Promise<void> => {
    for (let i = 0; i < each; i++) await client.execute("query-status");
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

async function atOnce(client: Client, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, () => client.execute("query-status")));
}

const scenarios: { readonly [name: string]: Scenario } = {
  inTurn: {
    operations: 2_000,
    async run(client) {
      for (let i = 0; i < 2_000; i++) await client.execute("query-status");
    },
  },
  eightInFlight: { operations: 16_000, run: (client) => inLanes(client, 8, 2_000) },
  // Ours keeps to the eight unanswered commands that QEMU reads ahead; so does this floor.
  fiveThousandAtOnce: {
    operations: 5_000,
    run: (client) => atOnce(client, 5_000),
    runFloor: (client) => inLanes(client, 8, 625),
  },
  // This floor does not, and would keep QEMU from seeing what is sent out of band.
  fiveThousandAtOnceAgainstUnbounded: { operations: 5_000, run: (client) => atOnce(client, 5_000) },
  events: {
    operations: EVENTS,
    async run(client) {
      await client.execute("flood", { count: EVENTS });
    },
  },
  schema: {
    operations: 30,
    async run(client) {
      for (let i = 0; i < 30; i++) await client.execute("schema");
    },
  },
};

async function measure(client: Client, operations: number, run: (client: Client) => Promise<void>): Promise<Sample> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await run(client);
  const wallUs = ((performance.now() - start) * 1000) / operations;
  const used = process.cpuUsage(cpu);
  return { wallUs, cpuUs: (used.user + used.system) / operations };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}

const round = (value: number): number => Number(value.toPrecision(3));

function summary(samples: readonly Sample[]): Sample {
  return { wallUs: round(median(samples.map((s) => s.wallUs))), cpuUs: round(median(samples.map((s) => s.cpuUs))) };
}

/** Round trips of one command on one server: ours beside the peers, whose connection is their own. */
async function besidePeers(path: string, count: number, depth: number): Promise<unknown> {
  const samples: Record<string, Sample[]> = { ours: [] };
  for (let i = 0; i < ROUNDS; i++) {
    // One client a time: QEMU serves no second one.
    const qmp = await QmpClient.open({ path });
    const client: Client = { execute: (command, args) => qmp.executeUntyped(command, args, { deadlineMs: 60_000 }) };
    const work = (operations: number): Promise<void> => inLanes(client, depth, Math.ceil(operations / depth));
    await work(count / 10 + 1);
    samples["ours"]?.push(await measure(client, count, () => work(count)));
    await qmp.close();
    for (const [name, peer] of Object.entries(peers))
      (samples[name] ??= []).push(await peer(path, "query-status", count, depth));
  }
  const medians = Object.fromEntries(Object.entries(samples).map(([name, list]) => [name, summary(list)]));
  const ours = medians["ours"] as Sample;
  const against = Object.entries(medians).filter(([name]) => name !== "ours");
  return {
    ...medians,
    wallRatios: Object.fromEntries(against.map(([name, { wallUs }]) => [name, round(ours.wallUs / wallUs)])),
    cpuRatios: Object.fromEntries(against.map(([name, { cpuUs }]) => [name, round(ours.cpuUs / cpuUs)])),
  };
}

/** The same on a QEMU that runs no guest. */
async function onQemu(): Promise<unknown> {
  const socket = join(folder, "qemu.sock");
  const args = [
    "-machine",
    "none",
    "-nodefaults",
    "-display",
    "none",
    "-S",
    "-qmp",
    `unix:${socket},server=on,wait=off`,
  ];
  const qemu = spawn("qemu-system-x86_64", args, { stdio: "ignore" });
  const failed = new Promise<string>((resolve) => qemu.once("error", (error) => resolve(error.message)));
  try {
    const problem = await Promise.race([failed, appears(socket)]);
    if (problem !== undefined) return { absent: problem };
    return { inTurn: await besidePeers(socket, 2_000, 1), eightInFlight: await besidePeers(socket, 8_000, 8) };
  } finally {
    qemu.kill("SIGKILL");
  }
}

async function appears(socket: string): Promise<undefined> {
  while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 20));
  return undefined;
}

const folder = mkdtempSync(join(tmpdir(), "qmp-bench-"));
const path = join(folder, "qmp.sock");
const peers = await qmpPeers(folder);
const server = fork(fileURLToPath(new URL("support/null-qmp-server.mjs", import.meta.url)), [path]);
try {
  await new Promise((resolve) => server.once("message", resolve));
  const qmp = await QmpClient.open({ path });
  let seen = 0;
  void (async () => {
    for await (const event of qmp.events({ capacity: EVENTS + 10 })) if (event.event === "RTC_CHANGE") seen++;
  })();
  const ours: Client = { execute: (command, args) => qmp.executeUntyped(command, args, { deadlineMs: 60_000 }) };
  const raw = await RawQmpClient.open(path);
  raw.onEvent = () => seen++;

  const result: Record<string, unknown> = {};
  for (const [name, { operations, run, runFloor = run }] of Object.entries(scenarios)) {
    const samples: { ours: Sample[]; raw: Sample[] } = { ours: [], raw: [] };
    for (let i = 0; i < ROUNDS + 2; i++) {
      const one = { ours: await measure(ours, operations, run), raw: await measure(raw, operations, runFloor) };
      if (i < 2) continue; // warm-up
      samples.ours.push(one.ours);
      samples.raw.push(one.raw);
    }
    const [mine, floor] = [summary(samples.ours), summary(samples.raw)];
    result[name] = {
      ours: mine,
      raw: floor,
      cpuRatio: round(mine.cpuUs / floor.cpuUs),
      wallRatio: round(mine.wallUs / floor.wallUs),
    };
  }
  if (seen === 0) throw new Error("no event arrived");
  raw.close();
  await qmp.close();
  const languages = {
    nullServer: { inTurn: await besidePeers(path, 2_000, 1), eightInFlight: await besidePeers(path, 16_000, 8) },
    qemu: await onQemu(),
  };
  console.log(
    JSON.stringify({
      floor: "minimal Node client, same null server",
      unit: "microseconds per operation",
      ...result,
      otherLanguages: languages,
    }),
  );
} finally {
  server.disconnect();
  rmSync(folder, { recursive: true, force: true });
}

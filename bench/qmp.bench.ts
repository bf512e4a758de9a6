// QMP round trips: ours against the least that a client in Node can be, on the same server in the same run. Prints medians
// per operation and the ratio of CPU time and of wall time.
import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { QmpClient } from "../src/qmp/index.js";
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

const folder = mkdtempSync(join(tmpdir(), "qmp-bench-"));
const path = join(folder, "qmp.sock");
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
  console.log(
    JSON.stringify({ peer: "minimal Node client, same null server", unit: "microseconds per operation", ...result }),
  );
} finally {
  server.disconnect();
  rmSync(folder, { recursive: true, force: true });
}

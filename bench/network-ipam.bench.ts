// Allocations of addresses: a /16 from a bit array against a Map; instances with VIF and address through a manager, on the
// memory, file and PostgreSQL stores, by one process and by eight, against the least that such a store could do: putting into a
// Map, appending and syncing the same bytes, one INSERT.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { open } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import {
  AddressPool,
  FileNetworkStore,
  FlatManager,
  MemoryNetworkStore,
  PostgresNetworkStore,
} from "../src/network/index.js";
import type { NetworkStore } from "../src/network/index.js";
import { FakeNetworkHost } from "../src/testing/network/fake-network-host.js";
import { bundleScript } from "../test/lab/bundle-script.js";
import type { AllocationWork } from "../test/lab/allocation-worker.js";
import { startPostgres } from "../test/lab/postgres.js";
import { temporaryDirectory } from "../test/lab/temporary-directory.js";

const PROCESSES = 8;
const EACH = Number(process.env["HYPERVISE_BENCH_ALLOCATIONS"] ?? 150);

async function seconds(work: () => unknown): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1_000;
}

const perSecond = (count: number, took: number): number => Math.round(count / took);
const ratio = (value: number, floor: number): number => Number((value / floor).toFixed(3));

async function median(rounds: number, work: () => Promise<number>): Promise<number> {
  const values: number[] = [];
  for (let round = 0; round < rounds; round++) values.push(await work());
  return values.sort((a, b) => a - b)[values.length >> 1] ?? 0;
}

/** A network of 65536 addresses. */
async function managerOn(store: NetworkStore): Promise<FlatManager> {
  const manager = new FlatManager({ store, host: new FakeNetworkHost({ name: "bench" }) });
  await manager.createNetworks({ label: "net", cidr: "10.0.0.0/16", networkSize: 65_536, bridge: "br0" });
  return manager;
}

/** Instances a second, so many at a time. */
async function allocate(manager: FlatManager, count: number, parallel: number): Promise<number> {
  let left = count;
  const worker = async (): Promise<void> => {
    while (left-- > 0) await manager.allocateForInstance({ instanceUuid: randomUUID(), projectId: "p", host: "bench" });
  };
  return perSecond(count, await seconds(() => Promise.all(Array.from({ length: parallel }, worker))));
}

async function poolOf16(): Promise<object> {
  const bits = await median(5, () =>
    seconds(() => {
      const pool = new AddressPool(65_536);
      while (pool.take() !== undefined);
    }),
  );
  const map = await median(5, () =>
    seconds(() => {
      const taken = new Map<number, true>();
      for (let place = 0; place < 65_536; place++) taken.set(place, true);
    }),
  );
  return {
    bitArrayMs: Number((bits * 1e3).toFixed(2)),
    mapMs: Number((map * 1e3).toFixed(2)),
    ratio: ratio(bits, map),
  };
}

async function memory(): Promise<object> {
  const store = new MemoryNetworkStore();
  const one = await allocate(await managerOn(store), 4_000, 1);
  const { length } = JSON.stringify(await store.find({ kind: "vif", limit: 1 }));
  const records = new Map<string, string>();
  const floor = perSecond(
    8_000,
    await seconds(() => {
      for (let at = 0; at < 8_000; at++) records.set(randomUUID(), JSON.stringify({ at, text: "x".repeat(length) }));
    }),
  );
  return { allocationsPerSecond: one, mapPutsPerSecond: floor, ratio: ratio(one, floor) };
}

/** Allocations a second of so many processes together, that begin when all have opened the store. */
async function processes(count: number, script: string, store: AllocationWork["store"]): Promise<number> {
  const work: AllocationWork = { store, churn: 0, hold: EACH, gated: true };
  const children = Array.from({ length: count }, () => {
    const child = spawn(process.execPath, [script, JSON.stringify(work)], { stdio: ["pipe", "pipe", "inherit"] });
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
    return { child, ended, ready: once(child.stdout, "data") };
  });
  await Promise.all(children.map(({ ready }) => ready));
  const took = await seconds(async () => {
    for (const { child } of children) child.stdin.end("begin");
    const codes = await Promise.all(children.map(({ ended }) => ended));
    if (codes.some((code) => code !== 0)) throw new Error(`workers ended with ${codes.join(", ")}`);
  });
  return perSecond(count * EACH, took);
}

async function file(script: string): Promise<object> {
  await using directory = await temporaryDirectory();
  await using store = new FileNetworkStore({ dir: directory.file("networks") });
  const manager = await managerOn(store);
  const one = await allocate(manager, EACH, 1);
  const many = await allocate(manager, EACH * 8, 64);
  const eight = await processes(PROCESSES, script, { dir: directory.file("networks") });
  const raw = await open(directory.file("raw"), "a");
  const bytes = Buffer.alloc(1_400, 120);
  const floor = perSecond(
    EACH,
    await seconds(async () => {
      for (let at = 0; at < EACH; at++) {
        await raw.write(bytes);
        await raw.datasync();
      }
    }),
  );
  await raw.close();
  return {
    allocationsPerSecond: { oneAtATime: one, sixtyFourAtATime: many, eightProcesses: eight },
    appendsAndSyncsPerSecond: floor,
    ratio: { oneAtATime: ratio(one, floor), sixtyFourAtATime: ratio(many, floor), eightProcesses: ratio(eight, floor) },
  };
}

async function postgres(script: string): Promise<object> {
  await using server = await startPostgres();
  const schema = "bench";
  await using store = new PostgresNetworkStore({ ...server.connection, schema, maxConnections: 8 });
  const manager = await managerOn(store);
  const one = await allocate(manager, EACH, 1);
  const many = await allocate(manager, EACH * 4, 32);
  const eight = await processes(PROCESSES, script, { ...server.connection, schema });
  const client = server.pool();
  await client.query({ text: "CREATE TABLE raw (id text PRIMARY KEY, value jsonb NOT NULL)" });
  const value = JSON.stringify({ text: "x".repeat(300) });
  const floor = perSecond(
    EACH,
    await seconds(async () => {
      for (let at = 0; at < EACH; at++)
        await client.query({ name: "raw", text: "INSERT INTO raw VALUES ($1, $2)", values: [randomUUID(), value] });
    }),
  );
  await client.end();
  return {
    allocationsPerSecond: { oneAtATime: one, thirtyTwoAtATime: many, eightProcesses: eight },
    insertsPerSecond: floor,
    ratio: { oneAtATime: ratio(one, floor), thirtyTwoAtATime: ratio(many, floor), eightProcesses: ratio(eight, floor) },
  };
}

await using script = await bundleScript(fileURLToPath(new URL("../test/lab/allocation-worker.ts", import.meta.url)));
const results = {
  poolOf16: await poolOf16(),
  memory: await memory(),
  file: await file(script.path),
  postgres: await postgres(script.path),
};
console.log(JSON.stringify(results, undefined, 2));

// From the call to a running guest: `spawn()` and `powerOn()` of the KVM driver against QEMU itself, started with the same
// arguments by a minimum of code and told to run. All in one process, in turn, under TCG unless told otherwise.
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import type { Socket } from "node:net";
import { join } from "node:path";
import { KvmDriver } from "../src/kvm/index.js";
import { DirectoryImageStore } from "../src/storage/index.js";
import { bootSector, temporaryDirectory } from "../test/lab/index.js";

const ROUNDS = Number(process.env["HYPERVISE_BENCH_ROUNDS"] ?? 15);
const AT_ONCE = (process.env["HYPERVISE_BENCH_AT_ONCE"] ?? "10,50").split(",").map(Number);
const accelerator = process.env["HYPERVISE_BENCH_ACCELERATOR"] === "auto" ? "auto" : "tcg";

await using directory = await temporaryDirectory("hvb-");
const stateDirectory = join(directory.path, "state");
const images = new DirectoryImageStore({ directory: join(directory.path, "images") });
await images.import({ id: "sector", format: "raw", path: bootSector() });
await using driver = new KvmDriver({ stateDirectory, accelerator, collaborators: { images } });
await driver.initHost();

const specOf = (round: number) =>
  ({
    uuid: `00000000-0000-4000-8000-${String(round).padStart(12, "0")}`,
    name: `bench-${round}`,
    flavor: { vcpus: 1, memoryMiB: 64, rootGiB: 0 },
    imageId: "sector",
    vifs: [
      {
        type: "user",
        id: `00000000-0000-4000-9000-${String(round).padStart(12, "0")}`,
        macAddress: `52:54:00:00:${(round >> 8).toString(16).padStart(2, "0")}:${(round & 255).toString(16).padStart(2, "0")}`,
        network: { id: "bench" },
      },
    ],
  }) as const;

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** The command line of a guest that runs. */
async function commandOf(uuid: string): Promise<readonly string[]> {
  const pid = (await readFile(join(stateDirectory, "guests", uuid, "qemu.pid"), "utf8")).trim();
  return (await readFile(`/proc/${pid}/cmdline`, "utf8")).split("\0").slice(0, -1);
}

/** QEMU with the same arguments, until its vCPUs run; and what ends it. */
async function raw([binary = "", ...args]: readonly string[], uuid: string): Promise<() => Promise<void>> {
  const guestDirectory = join(stateDirectory, "guests", uuid);
  await Promise.all(
    ["qmp", "tools", "console", "agent"].map((name) => rm(join(guestDirectory, `${name}.sock`), { force: true })),
  );
  const directoryFd = openSync(guestDirectory, "r");
  const child = spawn(binary, args, { stdio: ["ignore", "ignore", "ignore", directoryFd, "pipe"] });
  closeSync(directoryFd);
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const monitor = child.stdio[4] as Socket;
  await new Promise<void>((resolve, reject) => {
    let text = "";
    let greeted = false;
    child.once("exit", (code) => reject(new Error(`QEMU ended with ${String(code)}`)));
    monitor.setEncoding("latin1").on("data", (chunk: string) => {
      text += chunk;
      if (!greeted && text.includes('"QMP"')) {
        greeted = true;
        monitor.write('{"execute":"qmp_capabilities"}{"execute":"cont"}');
      }
      if (text.includes('"RESUME"')) resolve();
    });
  });
  return async () => {
    child.kill("SIGKILL");
    await ended;
  };
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
const ms = (value: number): number => Number(value.toFixed(1));
const ratio = (value: number, floor: number): number => Number((value / floor).toFixed(2));

const times = { spawn: [] as number[], powerOn: [] as number[], raw: [] as number[], destroy: [] as number[] };
for (let round = 0; round <= ROUNDS; round++) {
  const spec = specOf(round);
  const spawnMs = await timed(() => driver.spawn(spec));
  await driver.powerOff(spec, { graceMs: 0 });
  const powerOnMs = await timed(() => driver.powerOn(spec));
  const command = await commandOf(spec.uuid);
  await driver.powerOff(spec, { graceMs: 0 });
  let stop: () => Promise<void> = () => Promise.resolve();
  const rawMs = await timed(async () => (stop = await raw(command, spec.uuid)));
  await stop();
  const destroyMs = await timed(() => driver.destroy(spec));
  // The first round warms caches and compiles.
  if (round === 0) continue;
  times.spawn.push(spawnMs);
  times.powerOn.push(powerOnMs);
  times.raw.push(rawMs);
  times.destroy.push(destroyMs);
}

/** The same with many guests started together. */
async function together(count: number, first: number): Promise<unknown> {
  const many = Array.from({ length: count }, (_, i) => specOf(first + i));
  const powerOff = (): Promise<unknown> => Promise.all(many.map((spec) => driver.powerOff(spec, { graceMs: 0 })));
  const spawnMs = await timed(() => Promise.all(many.map((spec) => driver.spawn(spec))));
  await powerOff();
  const powerOnMs = await timed(() => Promise.all(many.map((spec) => driver.powerOn(spec))));
  const commands = await Promise.all(many.map(async ({ uuid }) => ({ uuid, command: await commandOf(uuid) })));
  await powerOff();
  let stops: (() => Promise<void>)[] = [];
  const rawMs = await timed(async () => {
    stops = await Promise.all(commands.map(({ uuid, command }) => raw(command, uuid)));
  });
  await Promise.all(stops.map((stop) => stop()));
  await Promise.all(many.map((spec) => driver.destroy(spec)));
  return {
    guests: count,
    rawMs: ms(rawMs),
    powerOnMs: ms(powerOnMs),
    powerOnToRaw: ratio(powerOnMs, rawMs),
    spawnMs: ms(spawnMs),
    spawnToRaw: ratio(spawnMs, rawMs),
  };
}

const atOnce: unknown[] = [];
for (const count of AT_ONCE) atOnce.push(await together(count, 1_000 + atOnce.length * 1_000));

const rawMs = median(times.raw);
console.log(
  JSON.stringify({
    accelerator: driver.accelerator?.name,
    rounds: ROUNDS,
    oneGuest: {
      rawMs: ms(rawMs),
      powerOnMs: ms(median(times.powerOn)),
      powerOnToRaw: ratio(median(times.powerOn), rawMs),
      spawnMs: ms(median(times.spawn)),
      spawnToRaw: ratio(median(times.spawn), rawMs),
      destroyMs: ms(median(times.destroy)),
    },
    atOnce,
  }),
);

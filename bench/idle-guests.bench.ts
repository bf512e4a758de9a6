// What the driver's process costs for guests that do nothing: memory and CPU of a process that holds many of them, against the
// same process before the first. Under TCG.
import { join } from "node:path";
import { KvmDriver } from "../src/kvm/index.js";
import { DirectoryImageStore } from "../src/storage/index.js";
import { bootSector, temporaryDirectory } from "../test/lab/index.js";

const GUESTS = Number(process.env["HYPERVISE_BENCH_GUESTS"] ?? 200);
const WATCH_MS = 10_000;
const STARTED_AT_ONCE = 10;

interface Cost {
  readonly heapBytes: number;
  readonly residentBytes: number;
  /** Share of one CPU. */
  readonly cpu: number;
}

await using directory = await temporaryDirectory("hvb-");
const images = new DirectoryImageStore({ directory: join(directory.path, "images") });
await images.import({ id: "sector", format: "raw", path: bootSector() });
await using driver = new KvmDriver({
  stateDirectory: join(directory.path, "state"),
  accelerator: "tcg",
  collaborators: { images },
});
await driver.initHost();

const specs = Array.from({ length: GUESTS }, (_, index) => ({
  uuid: `00000000-0000-4000-8000-${String(index).padStart(12, "0")}`,
  name: `idle-${index}`,
  flavor: { vcpus: 1, memoryMiB: 32, rootGiB: 0 },
  imageId: "sector",
}));

async function cost(): Promise<Cost> {
  globalThis.gc?.();
  const before = process.cpuUsage();
  const start = performance.now();
  await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
  const { user, system } = process.cpuUsage(before);
  const elapsedUs = (performance.now() - start) * 1_000;
  globalThis.gc?.();
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heapBytes: heapUsed + external, residentBytes: rss, cpu: (user + system) / elapsedUs };
}

async function inLanes<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const queue = [...items];
  const lane = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: STARTED_AT_ONCE }, lane));
}

const empty = await cost();
await inLanes(specs, (spec) => driver.spawn(spec));
const full = await cost();
const start = performance.now();
const infos = await Promise.all(specs.map((spec) => driver.getInfo(spec)));
const infoMs = performance.now() - start;
if (infos.some(({ state }) => state !== "running")) throw new Error("a guest does not run");
await inLanes(specs, (spec) => driver.destroy(spec));

console.log(
  JSON.stringify({
    guests: GUESTS,
    empty,
    full,
    bytesPerGuest: Math.round((full.heapBytes - empty.heapBytes) / GUESTS),
    residentBytesPerGuest: Math.round((full.residentBytes - empty.residentBytes) / GUESTS),
    cpuOfAll: Number((full.cpu - empty.cpu).toFixed(5)),
    getInfoOfAllMs: Number(infoMs.toFixed(1)),
  }),
);

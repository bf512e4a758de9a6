// The fake driver at scale: 100,000 instances in one process. The floor is a recorder without behaviour, measured in the
// same run: one Map from uuid to the spec and a state, as the fakes of other projects keep them.
import { BOUNDLESS_HOST, FakeDriver } from "../src/fake/index.js";
import type { InstanceSpec } from "../src/driver/index.js";

const INSTANCES = Number(process.env["HYPERVISE_BENCH_INSTANCES"] ?? 100_000);
const READS = 100_000;
const WARM_UP = 1_000;

function heapBytes(): number {
  globalThis.gc?.();
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}

async function timed(work: () => Promise<void> | void): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

const perSecond = (count: number, ms: number): number => Math.round((count / ms) * 1000);
const ratio = (value: number, floor: number): number => Number((value / floor).toFixed(3));

const driver = new FakeDriver({ host: BOUNDLESS_HOST });
await driver.initHost();
const { world } = driver;
for (let i = 0; i < WARM_UP; i++) {
  const spec = world.spec();
  await driver.spawn(spec);
  await driver.getInfo(spec);
  await driver.destroy(spec);
}

const specs: InstanceSpec[] = Array.from({ length: INSTANCES }, () => world.spec());
const copies = specs.map((spec) => JSON.stringify(spec));
const pick = (i: number): InstanceSpec => specs[(i * 7919) % INSTANCES] as InstanceSpec;

// The floor first, and let go of before the driver begins.
let recorder = new Map<string, { readonly spec: InstanceSpec; readonly state: string }>();
const floorBefore = heapBytes();
const floorSpawnMs = await timed(() => {
  for (const text of copies) {
    const spec = JSON.parse(text) as InstanceSpec;
    recorder.set(spec.uuid, { spec, state: "running" });
  }
});
const floorBytes = (heapBytes() - floorBefore) / INSTANCES;
let found = 0;
const floorReadMs = await timed(async () => {
  for (let i = 0; i < READS; i++) found += (await Promise.resolve(recorder.get(pick(i).uuid)))?.state.length ?? 0;
});
recorder = new Map();

const before = heapBytes();
const spawnMs = await timed(async () => {
  for (const spec of specs) await driver.spawn(spec);
});
const bytes = (heapBytes() - before) / INSTANCES;
const readMs = await timed(async () => {
  for (let i = 0; i < READS; i++) found += (await driver.getInfo(pick(i))).state.length;
});
let listed = 0;
const listMs = await timed(async () => {
  listed = (await driver.listInstances()).length;
});
const checked = world.checkInvariants();
const destroyed = Math.min(INSTANCES, 10_000);
const destroyMs = await timed(async () => {
  for (const spec of specs.slice(0, destroyed)) await driver.destroy(spec);
});
await driver.close();
if (listed !== INSTANCES || found === 0 || checked.length > 0)
  throw new Error(`the world is not sound: ${checked.join("; ")}`);

console.log(
  JSON.stringify({
    instances: INSTANCES,
    spawn: {
      perSecond: perSecond(INSTANCES, spawnMs),
      floorPerSecond: perSecond(INSTANCES, floorSpawnMs),
      timesTheFloor: ratio(spawnMs, floorSpawnMs),
    },
    memory: {
      bytesPerInstance: Math.round(bytes),
      floorBytes: Math.round(floorBytes),
      timesTheFloor: ratio(bytes, floorBytes),
    },
    getInfo: {
      perSecond: perSecond(READS, readMs),
      floorPerSecond: perSecond(READS, floorReadMs),
      timesTheFloor: ratio(readMs, floorReadMs),
    },
    list: { milliseconds: Math.round(listMs), instancesPerSecond: perSecond(INSTANCES, listMs) },
    destroy: { perSecond: perSecond(destroyed, destroyMs) },
  }),
);

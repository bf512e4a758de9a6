// A guest from a template against the same guest booted: from the call until it runs, with NICs of its own, and until a program in it
// answers. Linux from a disk image, user-mode networking, TCG unless told otherwise; all in one process, in turn.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { InstanceRef } from "../src/driver/index.js";
import { KvmDriver } from "../src/kvm/index.js";
import { DirectoryImageStore } from "../src/storage/index.js";
import { temporaryDirectory, testGuest } from "../test/lab/index.js";

const ROUNDS = Number(process.env["HYPERVISE_BENCH_ROUNDS"] ?? 5);
const accelerator = process.env["HYPERVISE_BENCH_ACCELERATOR"] === "auto" ? "auto" : "tcg";
const MEMORY_MIB = 256;
const ANSWER_MS = 180_000;

await using directory = await temporaryDirectory("hvb-");
const images = new DirectoryImageStore({ directory: join(directory.path, "images") });
const { disk } = await testGuest();
await images.import({ id: "guest", format: "qcow2", path: disk });
await using driver = new KvmDriver({
  stateDirectory: join(directory.path, "state"),
  accelerator,
  collaborators: { images },
});
await driver.initHost();

let count = 0;
const nextSpec = () => {
  const digits = String(++count).padStart(12, "0");
  return {
    uuid: `00000000-0000-4000-8000-${digits}`,
    name: `bench-${count}`,
    flavor: { vcpus: 1, memoryMiB: MEMORY_MIB, rootGiB: 0 },
    imageId: "guest",
    vifs: [
      {
        type: "user",
        id: `00000000-0000-4000-9000-${digits}`,
        macAddress: `52:54:00:00:00:${digits.slice(-2)}`,
        network: { id: "bench" },
      },
    ],
  } as const;
};

/** Waits until a program in the guest has run. */
async function answer(instance: InstanceRef): Promise<void> {
  const end = performance.now() + ANSWER_MS;
  for (;;) {
    try {
      await driver.execInGuest(instance, ["/bin/true"], { deadline: 1_000 });
      return;
    } catch (error) {
      if (performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

interface Times {
  readonly running: number[];
  readonly answering: number[];
}

async function measure(times: Times, instance: InstanceRef, start: () => Promise<unknown>): Promise<void> {
  const begin = performance.now();
  await start();
  times.running.push(performance.now() - begin);
  await answer(instance);
  times.answering.push(performance.now() - begin);
}

const cold: Times = { running: [], answering: [] };
const cloned: Times = { running: [], answering: [] };
const template = directory.file("template");
let saveMs = 0;
for (let round = 0; round < ROUNDS; round++) {
  const booted = nextSpec();
  await measure(cold, booted, () => driver.spawn(booted));
  if (round === 0) {
    const begin = performance.now();
    await driver.saveTemplate(booted, template).result;
    saveMs = performance.now() - begin;
  }
  await driver.destroy(booted);
  const clone = nextSpec();
  await measure(cloned, clone, () => driver.spawnFromTemplate(clone, template));
  await driver.destroy(clone);
}
const memoryBytes = (await stat(join(template, "memory"))).size;
await driver.deleteTemplate(template);

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
const ms = (value: number): number => Number(value.toFixed(1));
const ratio = (value: number, peer: number): number => Number((value / peer).toFixed(3));

console.log(
  JSON.stringify({
    accelerator: driver.accelerator?.name,
    rounds: ROUNDS,
    memoryMiB: MEMORY_MIB,
    template: { saveMs: ms(saveMs), memoryFileMiB: ms(memoryBytes / 1_048_576) },
    coldStart: { runningMs: ms(median(cold.running)), answeringMs: ms(median(cold.answering)) },
    fromTemplate: { runningMs: ms(median(cloned.running)), answeringMs: ms(median(cloned.answering)) },
    answeringToColdStart: ratio(median(cloned.answering), median(cold.answering)),
  }),
);

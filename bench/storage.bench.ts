// Disks through this package against `qemu-img` run by hand: an overlay, a conversion. And a guest from an image that its host has
// against one whose image comes first: copied in, and by HTTP. No guest runs: what is measured is until its disk is there.
import { execFile } from "node:child_process";
import { createReadStream } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { DirectoryImageStore, LocalDiskBackend } from "../src/storage/index.js";
import { temporaryDirectory } from "../test/lab/index.js";

const ROUNDS = Number(process.env["HYPERVISE_BENCH_ROUNDS"] ?? 10);
const IMAGE_MIB = Number(process.env["HYPERVISE_BENCH_IMAGE_MIB"] ?? 256);
const MIB = 1024 * 1024;
const UUID = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";
const run = promisify(execFile);

await using directory = await temporaryDirectory("hvb-");
const raw = directory.file("image.raw");
const vmdk = directory.file("image.vmdk");
await run("qemu-img", ["create", "-q", "-f", "raw", raw, `${2 * IMAGE_MIB}M`]);
// Half of it written, with bytes that are not all the same.
for (let at = 0; at < IMAGE_MIB; at += 16)
  await run("qemu-io", ["-f", "raw", "-c", `write -P ${(at / 16) % 255} ${at}M 16M`, raw]);
await run("qemu-img", ["convert", "-f", "raw", "-O", "vmdk", raw, vmdk]);

const disks = new LocalDiskBackend({ directory: directory.file("disks") });
const sizeBytes = 4 * IMAGE_MIB * MIB;
let count = 0;

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

/** Of all but the first, which warms the caches. */
function median(times: readonly number[]): number {
  const sorted = times.slice(1).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Ours and the floor in turn, so that what else the machine does falls on both. */
async function compare(ours: () => Promise<unknown>, floor: () => Promise<unknown>): Promise<Record<string, number>> {
  const [mine, theirs]: [number[], number[]] = [[], []];
  for (let round = 0; round <= ROUNDS; round++) {
    mine.push(await timed(ours));
    theirs.push(await timed(floor));
  }
  const [oursMs, qemuImgMs] = [median(mine), median(theirs)];
  return {
    oursMs: round(oursMs),
    qemuImgMs: round(qemuImgMs),
    overheadMs: round(oursMs - qemuImgMs),
    ratio: round(oursMs / qemuImgMs),
  };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

const images = new DirectoryImageStore({ directory: directory.file("images") });
await images.import({ id: "raw", format: "raw", path: raw });
await images.import({ id: "vmdk", format: "vmdk", path: vmdk });
const [rawImage, vmdkImage] = [await images.fetch("raw"), await images.fetch("vmdk")];

const overlay = await compare(
  async () => disks.create({ instanceUuid: UUID, name: `overlay${count++}`, sizeBytes, image: rawImage }),
  async () =>
    run("qemu-img", [
      "create",
      "-q",
      "-f",
      "qcow2",
      "-b",
      raw,
      "-F",
      "raw",
      directory.file(`o${count}`),
      String(sizeBytes),
    ]),
);

const convert = await compare(
  async () => {
    await disks.create({ instanceUuid: UUID, name: "convert", sizeBytes: 2 * IMAGE_MIB * MIB, image: vmdkImage });
    await disks.remove(UUID, "convert");
  },
  async () => {
    await run("qemu-img", ["convert", "-f", "vmdk", "-O", "qcow2", vmdk, directory.file("converted")]);
    await rm(directory.file("converted"));
  },
);

/** From the call until the disk is there; the first of them fetches. */
async function spawn(store: DirectoryImageStore, id: string): Promise<number> {
  return timed(async () => {
    const image = await store.fetch(id);
    await disks.create({ instanceUuid: UUID, name: `spawn${count++}`, sizeBytes, image });
  });
}

const server = createServer((_request, response) => void createReadStream(raw).pipe(response));
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
const spawns: Record<"linked" | "copied" | "byHttp" | "cached", number[]> = {
  linked: [],
  copied: [],
  byHttp: [],
  cached: [],
};
for (let round = 0; round <= Math.max(2, Math.floor(ROUNDS / 3)); round++) {
  await images.ageCache(new Set(), 0);
  spawns.linked.push(await spawn(images, "raw"));
  spawns.cached.push(await spawn(images, "raw"));
  // A checked copy, as onto the disk of a host from storage that hosts share.
  const name = directory.file(`copied${round}`);
  const copied = new DirectoryImageStore({ directory: name });
  spawns.copied.push(
    await timed(async () => {
      await copied.import({ id: "raw", format: "raw", path: raw });
      await spawn(copied, "raw");
    }),
  );
  await rm(name, { recursive: true });
  const remote = new DirectoryImageStore({ directory: name });
  spawns.byHttp.push(
    await timed(async () => {
      await remote.import({ id: "raw", format: "raw", url });
      await spawn(remote, "raw");
    }),
  );
  await rm(name, { recursive: true });
}
server.closeAllConnections();
server.close();

const cachedMs = median(spawns.cached);
const uncached = (["linked", "copied", "byHttp"] as const).map((how) => {
  const ms = median(spawns[how]);
  return [how, { ms: round(ms), timesCached: round(ms / cachedMs) }] as const;
});
console.log(
  JSON.stringify({
    imageMiB: IMAGE_MIB,
    imageBytesOnDisk: (await stat(raw)).blocks * 512,
    rounds: ROUNDS,
    overlay,
    convert,
    spawn: { cachedMs: round(cachedMs), uncached: Object.fromEntries(uncached) },
  }),
);

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, readdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { DirectoryImageStore } from "../../../src/storage/index.js";
import { withTemporaryDirectory } from "../../lab/index.js";
import type { RaceResult, StoreRequest } from "./store-child.js";
import { MIB, withSmallFileSystem } from "./support.js";

const CHILD = fileURLToPath(new URL("store-child.ts", import.meta.url));
const ROOT = process.getuid?.() === 0;

interface Child {
  /** What it says first. */
  readonly line: Promise<string>;
  readonly ended: Promise<number | null>;
  kill(): void;
}

function start(request: StoreRequest): Child {
  const child = spawn(process.execPath, ["--import", "tsx", CHILD, JSON.stringify(request)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const lines = createInterface({ input: child.stdout });
  const ended = once(child, "close").then(([code]) => code as number | null);
  const line = Promise.race([
    once(lines, "line").then(([text]) => String(text)),
    ended.then((code) => Promise.reject(new Error(`ended with ${String(code)}: ${said}`))),
  ]);
  line.catch(() => undefined);
  return { line, ended, kill: () => void child.kill("SIGKILL") };
}

async function bytesOf(path: string): Promise<Buffer> {
  return readFile(path);
}

/** An image of which most is there to be copied. */
async function fill(path: string, bytes: number): Promise<void> {
  await writeFile(path, Buffer.alloc(Math.min(bytes, 8 * MIB), "hypervise"));
  for (let size = 8 * MIB; size < bytes; size += 8 * MIB)
    await writeFile(path, Buffer.alloc(8 * MIB, `at ${size}`), { flag: "a" });
  await truncate(path, bytes);
}

describe("an image store of several processes", () => {
  it.each(["linked", "copied"] as const)(
    "is fetched from and aged by two at once, and nobody sees half an image, when it is %s into the cache",
    async (how) => {
      if (how === "copied" && !ROOT) return;
      await withTemporaryDirectory(async ({ path: root }) => {
        const race = async (cacheDirectory?: string): Promise<void> => {
          const shared = {
            directory: join(root, "images"),
            ...(cacheDirectory === undefined ? {} : { cacheDirectory }),
          };
          const store = new DirectoryImageStore(shared);
          await fill(join(root, "source"), MIB);
          await store.import({ id: "image", format: "raw", path: join(root, "source") });
          const children = [1, 2].map(() => start({ ...shared, what: "race", rounds: 40 }));
          const results = await Promise.all(children.map(async ({ line }) => JSON.parse(await line) as RaceResult));
          await Promise.all(children.map(({ ended }) => ended));
          expect(results.reduce((sum, { whole }) => sum + whole, 0)).toBeGreaterThan(0);
          expect(results.reduce((sum, { aged }) => sum + aged, 0)).toBeGreaterThan(0);
          const cache = cacheDirectory ?? join(root, "images", ".cache");
          expect(await readdir(join(cache, ".staging"))).toEqual([]);
          expect((await bytesOf((await store.fetch("image")).path)).equals(await bytesOf(join(root, "source")))).toBe(
            true,
          );
        };
        if (how === "linked") await race();
        else await withSmallFileSystem(16 * MIB, race);
      });
    },
  );

  it.runIf(ROOT).each(["import", "fetch"] as const)(
    "goes on when one of them is killed in the middle of a %s",
    (what) =>
      withTemporaryDirectory(({ path: root }) =>
        withSmallFileSystem(100 * MIB, async (small) => {
          const [directory, path] = [join(root, "images"), join(root, "source")];
          const cacheDirectory = join(small, "cache");
          await fill(path, 32 * MIB);
          const store = new DirectoryImageStore({ directory, cacheDirectory });
          if (what === "fetch") await store.import({ id: "image", format: "raw", path });
          const child = start({ directory, cacheDirectory, what: `stuck-${what}`, path });
          expect(await child.line).toBe("started");
          child.kill();
          expect(await child.ended).toBeNull();
          const busy = what === "fetch" ? cacheDirectory : directory;
          expect(await readdir(join(busy, ".staging"))).toHaveLength(1);
          if (what === "import") {
            expect(await store.list()).toEqual([]);
            await store.import({ id: "image", format: "raw", path });
          }
          const image = await store.fetch("image");
          expect((await bytesOf(image.path)).equals(await bytesOf(path))).toBe(true);
          expect(await readdir(join(busy, ".staging"))).toEqual([]);
        }),
      ),
  );

  it.runIf(ROOT)("copies an image once for two that want it at once", () =>
    withTemporaryDirectory(({ path: root }) =>
      // Too small for two copies.
      withSmallFileSystem(48 * MIB, async (small) => {
        const [directory, path] = [join(root, "images"), join(root, "source")];
        const cacheDirectory = join(small, "cache");
        await fill(path, 32 * MIB);
        const store = new DirectoryImageStore({ directory, cacheDirectory });
        await store.import({ id: "image", format: "raw", path });
        const children = [1, 2].map(() => start({ directory, cacheDirectory, what: "fetch" }));
        expect(await Promise.all(children.map(({ ended }) => ended))).toEqual([0, 0]);
        expect(await store.isCached("image")).toBe(true);
      }),
    ),
  );
});

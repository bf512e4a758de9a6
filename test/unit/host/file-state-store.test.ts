import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Journal, MemoryStateStore } from "../../../src/core/index.js";
import type { JsonValue } from "../../../src/core/index.js";
import { FileStateStore, identityOf } from "../../../src/host/index.js";

let root: string;
let dir: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "hv-state-"));
  dir = join(root, "state");
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

describe("FileStateStore", () => {
  it("keeps values beyond the object, in private files", async () => {
    const store = new FileStateStore({ dir });
    await store.put("instances/u1", { name: "wéb", list: [1, null, true] });
    expect(await new FileStateStore({ dir }).get("instances/u1")).toStrictEqual({ name: "wéb", list: [1, null, true] });
    expect((await stat(dir)).mode & 0o777).toBe(0o700);
    expect((await stat(join(dir, "instances"))).mode & 0o777).toBe(0o700);
    expect((await stat(join(dir, "instances/u1.json"))).mode & 0o777).toBe(0o600);
    expect(JSON.parse(await readFile(join(dir, "instances/u1.json"), "utf8"))).toMatchObject({
      format: "hypervise-state",
      version: 1,
    });
  });

  it("reads beside one that writes, and makes nothing", async () => {
    const reader = new FileStateStore({ dir, readOnly: true });
    expect(await reader.list("")).toEqual([]);
    expect(await reader.get("a")).toBeUndefined();
    expect(await readdir(root)).toEqual([]);
    const writer = new FileStateStore({ dir });
    await writer.put("a", 1);
    await writeFile(join(dir, ".state-1-1.tmp"), "half");
    expect(await reader.get("a")).toBe(1);
    expect(await reader.list("")).toEqual(["a"]);
    await expect(reader.put("a", 2)).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
    await expect(reader.delete("a")).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
    expect((await readdir(dir)).sort()).toEqual([".state-1-1.tmp", "a.json"]);
  });

  it("behaves as the store in memory does", async () => {
    const key = fc.constantFrom("a", "a/b", "a/c", "a/b/c", "ab", "b.x/y-1_z");
    const command = fc.oneof(
      fc.record({ type: fc.constant("put" as const), key, value: fc.jsonValue({ maxDepth: 3 }) }),
      fc.record({
        type: fc.constantFrom("get" as const, "delete" as const, "list" as const),
        key,
        value: fc.constant(null),
      }),
    );
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 25 }), async (commands) => {
        const [real, model] = [new FileStateStore({ dir: join(dir, String(runs++)) }), new MemoryStateStore()];
        for (const { type, key, value } of commands) {
          const both = [real, model].map(async (store): Promise<unknown> => {
            if (type === "put") return store.put(key, value as JsonValue);
            return store[type](key);
          });
          const [a, b] = await Promise.allSettled(both);
          expect(a?.status).toBe(b?.status);
          if (a?.status === "fulfilled" && b?.status === "fulfilled") expect(a.value).toStrictEqual(b.value);
        }
        expect(await real.list("")).toEqual(await model.list(""));
      }),
      { numRuns: 25 },
    );
  });

  it("lists by the beginning of the key", async () => {
    const store = new FileStateStore({ dir });
    for (const key of ["a/b/1", "a/b/2", "a/bc", "ab", "c"]) await store.put(key, 1);
    expect(await store.list("a/b")).toEqual(["a/b/1", "a/b/2", "a/bc"]);
    expect(await store.list("a/b/")).toEqual(["a/b/1", "a/b/2"]);
    expect(await store.list("a")).toEqual(["a/b/1", "a/b/2", "a/bc", "ab"]);
    expect(await store.list("nothing/")).toEqual([]);
    expect(await store.list("../")).toEqual([]);
    expect(await store.list("/")).toEqual([]);
  });

  it("leaves no empty directories below the first level, however writers and removers meet", async () => {
    const store = new FileStateStore({ dir });
    await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        const key = `a/deep/er/${i % 3}`;
        await store.put(key, i);
        await store.delete(key);
      }),
    );
    expect(await store.list("")).toEqual([]);
    expect(await readdir(join(dir, "a"))).toEqual([]);
  });

  it("writes one key in the order of the calls", async () => {
    const store = new FileStateStore({ dir });
    await Promise.all(Array.from({ length: 30 }, (_, i) => store.put("k", i)));
    expect(await store.get("k")).toBe(29);
    expect(await readdir(dir)).toEqual(["k.json"]);
  });

  it("refuses a file that was altered, cut, or is another's, naming it, and leaves it there", async () => {
    const store = new FileStateStore({ dir });
    const path = join(dir, "k.json");
    await store.put("k", { memoryMiB: 512 });
    const good = await readFile(path, "utf8");
    const bad = [
      good.replace("512", "513"),
      good.slice(0, 40),
      "",
      "null",
      "[]",
      '"x"',
      "{}",
      good.replace('"version":1', '"version":2'),
    ];
    for (const content of bad) {
      await writeFile(path, content);
      const error = await store.get("k").catch((e: unknown) => e);
      expect(error).toMatchObject({ code: "STATE_CORRUPT", detail: expect.stringContaining(path) as string });
      expect(JSON.stringify(error)).not.toContain(path);
      expect(await readFile(path, "utf8")).toBe(content);
    }
    await store.put("k", 1);
    expect(await store.get("k")).toBe(1);
  });

  it("sweeps what dead processes left half-written, and nothing else", async () => {
    await mkdir(join(dir, "journal"), { recursive: true });
    const boot = (await readFile("/proc/sys/kernel/random/boot_id", "latin1")).slice(0, 8);
    const own = await identityOf(process.pid);
    const living = `.state-${boot}-${own?.pid}-${own?.startTime}-0123456789abcdef.tmp`;
    const reused = `.state-${boot}-${own?.pid}-1-0123456789abcdef.tmp`;
    const earlierBoot = `.state-00000000-${own?.pid}-${own?.startTime}-0123456789abcdef.tmp`;
    const foreign = ".state-something.tmp";
    for (const name of [living, reused, earlierBoot, foreign]) await writeFile(join(dir, "journal", name), "half");
    const store = new FileStateStore({ dir });
    expect(await store.list("")).toEqual([]);
    expect((await readdir(join(dir, "journal"))).sort()).toEqual([foreign, living].sort());
  });

  it("fails with a typed error where it can't write, and works once it can", async () => {
    await writeFile(dir, "in the way");
    const store = new FileStateStore({ dir });
    await expect(store.put("k", 1)).rejects.toMatchObject({ code: "HOST_IO", errno: "EEXIST" });
    await rm(dir);
    await store.put("k", 1);
    expect(await store.get("k")).toBe(1);
  });

  it("serves a journal across processes", async () => {
    const there = new Set<string>();
    const undo = { thing: async ({ name }: { readonly [key: string]: JsonValue }) => void there.delete(String(name)) };
    const tx = await new Journal({ store: new FileStateStore({ dir }), undo }).begin({ kind: "spawn", params: {} });
    await tx.effect({ kind: "thing", data: { name: "tap0" } }, async () => there.add("tap0"));
    const report = await new Journal({ store: new FileStateStore({ dir }), undo }).recover();
    expect(report).toMatchObject({ clean: true, operations: [{ kind: "spawn", outcome: "undone" }] });
    expect(there.size).toBe(0);
    expect(await readdir(join(dir, "journal"))).toEqual([]);
  });
});

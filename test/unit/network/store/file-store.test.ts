import { appendFile, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FileNetworkStore, PostgresNetworkStore } from "../../../../src/network/index.js";
import type { StoreChange } from "../../../../src/network/index.js";
import { encodeEntry } from "../../../../src/network/store/file/log-format.js";
import { LogReplay } from "../../../../src/network/store/file/log-replay.js";
import { encodeChange } from "../../../../src/network/store/record-table.js";
import { withTemporaryDirectory } from "../../../lab/temporary-directory.js";

const put = (id: string, expected: number, n: number): StoreChange => ({
  op: "put",
  kind: "thing",
  id,
  expected,
  value: { n },
  index: [`even-${n % 2 === 0}`],
});

function recordsOf(replay: LogReplay): unknown {
  return replay.table.find({ kind: "thing" }, 1_000).map(({ id, value, version }) => [id, value["n"], version]);
}

async function contents(store: FileNetworkStore): Promise<unknown> {
  return (await store.find({ kind: "thing" })).map(({ id, value, version }) => [id, value["n"], version]);
}

describe("the file store", () => {
  it("has, after the file was cut at any byte, the commits that are whole, and goes on", async () => {
    await withTemporaryDirectory(async (directory) => {
      const dir = directory.file("full");
      const states: unknown[] = [];
      const sizes: number[] = [];
      const log = join(dir, "networks-1.log");
      await using store = new FileNetworkStore({ dir });
      await store.open();
      const note = async (): Promise<void> => {
        states.push(await contents(store));
        sizes.push((await readFile(log)).length);
      };
      await note();
      const versions = new Map<string, number>();
      for (let turn = 0; turn < 12; turn++) {
        const id = `t${turn % 5}`;
        const expected = versions.get(id) ?? 0;
        if (turn % 7 === 6 && expected > 0) {
          await store.commit([
            { op: "delete", kind: "thing", id, expected },
            put("extra", versions.get("extra") ?? 0, turn),
          ]);
          versions.delete(id);
          versions.set("extra", (await store.get("thing", "extra"))!.version);
        } else {
          const [version = 0] = await store.commit([put(id, expected, turn)]);
          versions.set(id, version);
        }
        await note();
      }
      const whole = await readFile(log);
      const stateAt = (length: number): unknown => states[sizes.filter((size) => size <= length).length - 1];
      for (let length = sizes[0]!; length <= whole.length; length++) {
        // The last byte of an entry is a line break: the entry stands as soon as that is there, and not before.
        const replay = new LogReplay("log");
        replay.take(whole.subarray(0, length), () => undefined);
        expect(recordsOf(replay), `cut at byte ${length}`).toEqual(stateAt(length));
        const rest = whole.subarray(replay.offset, length);
        const next = encodeEntry({ type: "commits", id: "next", commits: [[encodeChange(put("after", 0, 1))]] });
        let outcomes: unknown;
        replay.take(Buffer.concat([rest, next]), (id, found) => (outcomes = id === "next" ? found : outcomes));
        expect(outcomes).toEqual([[replay.table.lastVersion]]);
      }
      // On the disk too, around the end of an entry and in the midst of one.
      for (const length of [sizes[3]! - 1, sizes[3]!, sizes[3]! + 1, sizes[3]! + 40, whole.length - 1]) {
        const cut = directory.file(`cut-${length}`);
        await mkdir(cut);
        await writeFile(join(cut, "networks-1.log"), whole.subarray(0, length));
        await using reopened = new FileNetworkStore({ dir: cut });
        expect(await contents(reopened), `cut at byte ${length}`).toEqual(stateAt(length));
        await reopened.commit([put("after", 0, 1)]);
        await using again = new FileNetworkStore({ dir: cut });
        expect((await again.get("thing", "after"))?.value).toEqual({ n: 1 });
      }
    });
  }, 60_000);

  it("says so when a byte in the midst has changed, and passes over what was torn off", async () => {
    await withTemporaryDirectory(async (directory) => {
      const dir = directory.file("rot");
      const log = join(dir, "networks-1.log");
      {
        await using store = new FileNetworkStore({ dir });
        for (let turn = 0; turn < 4; turn++) await store.commit([put(`t${turn}`, 0, turn)]);
        await appendFile(log, '\n0123456789abcdef {"type":"commits","id":"torn');
        await store.commit([put("behind", 0, 9)]);
        expect(await store.count("thing", "even-true")).toBe(2);
      }
      {
        await using reopened = new FileNetworkStore({ dir });
        expect((await reopened.find({ kind: "thing" })).length).toBe(5);
      }
      const bytes = await readFile(log);
      const place = bytes.indexOf('"t1"') + 2;
      bytes[place] = bytes[place]! ^ 1;
      await writeFile(log, bytes);
      await using spoiled = new FileNetworkStore({ dir });
      await expect(spoiled.get("thing", "t1")).rejects.toMatchObject({ code: "STATE_CORRUPT" });
    });
  });

  it("refuses a file that is none of its own, and paths that are not absolute", async () => {
    await withTemporaryDirectory(async (directory) => {
      await writeFile(directory.file("networks-3.log"), "something else\n");
      await using store = new FileNetworkStore({ dir: directory.path });
      await expect(store.get("thing", "a")).rejects.toMatchObject({ code: "STATE_CORRUPT" });
    });
    expect(() => new FileNetworkStore({ dir: "relative" })).toThrow(expect.objectContaining({ field: "dir" }) as Error);
  });

  it("keeps one file, however often it has begun a new one, and sweeps what a killed process left of the next", async () => {
    await withTemporaryDirectory(async (directory) => {
      const dir = directory.file("many");
      await using one = new FileNetworkStore({ dir, maxLogBytes: 4_096 });
      await using two = new FileNetworkStore({ dir, maxLogBytes: 4_096 });
      let version = 0;
      for (let turn = 0; turn < 60; turn++) {
        if (turn === 30) await writeFile(join(dir, ".networks-2.00000000-0000-4000-8000-000000000000.tmp"), "half");
        [version = 0] = await (turn % 2 === 0 ? one : two).commit([put("t", version, turn)]);
      }
      await one.get("thing", "t");
      const files = await readdir(dir);
      expect(files).toHaveLength(1);
      expect(Number(/networks-(\d+)\.log/.exec(files[0] ?? "")?.[1])).toBeGreaterThan(2);
      expect(await contents(one)).toEqual([["t", 59, version]]);
    });
  });

  it("comes to the same records as a map, whatever is committed, through two openers and new files", async () => {
    const change = fc.record({
      id: fc.constantFrom("a", "b", "c"),
      stale: fc.boolean(),
      remove: fc.boolean(),
      other: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 24 }), async (changes) => {
        await withTemporaryDirectory(async (directory) => {
          await using one = new FileNetworkStore({ dir: directory.path, maxLogBytes: 4_096 });
          await using two = new FileNetworkStore({ dir: directory.path, maxLogBytes: 4_096 });
          const model = new Map<string, { version: number; n: number }>();
          for (const [n, { id, stale, remove, other }] of changes.entries()) {
            const current = model.get(id)?.version ?? 0;
            const expected = stale ? current + 1_000 : current;
            if (remove && expected === 0) continue;
            const asked: StoreChange = remove ? { op: "delete", kind: "thing", id, expected } : put(id, expected, n);
            const done = await (other ? two : one).commit([asked]).catch(() => undefined);
            expect(done === undefined).toBe(stale || (remove && current === 0));
            if (done === undefined) continue;
            if (remove) model.delete(id);
            else model.set(id, { version: done[0] ?? 0, n });
          }
          const expected = [...model]
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([id, { version, n }]) => [id, n, version]);
          expect(await contents(one)).toEqual(expected);
          expect(await contents(two)).toEqual(expected);
        });
      }),
      { numRuns: 6 },
    );
  }, 60_000);
});

describe("the PostgreSQL store", () => {
  it("names the package that it lacks, and only when it is used", async () => {
    const store = new PostgresNetworkStore({
      loadPg: () => {
        throw new Error("Cannot find module");
      },
    });
    await expect(store.open()).rejects.toMatchObject({
      code: "PACKAGE_MISSING",
      package: "pg",
      remedy: "Run: npm install pg",
    });
    await store.close();
  });

  it("says that it can't reach a server that is not there, and refuses names that are none", async () => {
    await using store = new PostgresNetworkStore({ host: "/nonexistent", user: "nobody" });
    await expect(store.get("thing", "a")).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      retryable: true,
      outcomeUnknown: false,
    });
    for (const schema of ["x;drop", "Upper", "1st", ""])
      expect(() => new PostgresNetworkStore({ schema })).toThrow(expect.objectContaining({ field: "schema" }) as Error);
  });
});

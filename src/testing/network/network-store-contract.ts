/** The contract of stores of networks, as a test suite for any runner. */
import assert from "node:assert/strict";
import { AbortedError, ClosedError, InvalidArgumentError, isHyperviseError } from "../../core/index.js";
import type { JsonObject } from "../../core/index.js";
import type { NetworkStore, PutRecord, StoreChange, StoreConflictError } from "../../network/index.js";
import { hooksOf } from "../contract/runner.js";
import type { ContractRunner } from "../contract/runner.js";

export interface NetworkStoreHarness {
  readonly name: string;
  /** A new, empty store. `again` opens the same records a second time, as another process would. */
  readonly create: () => Promise<{
    readonly store: NetworkStore;
    readonly again?: () => Promise<NetworkStore>;
    readonly remove: () => Promise<void>;
  }>;
  /** Default 30000. */
  readonly testTimeoutMs?: number;
}

const put = (id: string, expected: number, rest: Partial<PutRecord> = {}): PutRecord => ({
  op: "put",
  kind: "thing",
  id,
  expected,
  value: { id },
  ...rest,
});

async function conflict(store: NetworkStore, changes: readonly StoreChange[]): Promise<StoreConflictError> {
  const error: unknown = await store.commit(changes).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(isHyperviseError(error, "STORE_CONFLICT"), `expected a conflict, got ${String(error)}`);
  return error as StoreConflictError;
}

async function make(store: NetworkStore, ...changes: readonly StoreChange[]): Promise<number> {
  return (await store.commit(changes))[0] ?? 0;
}

const ids = async (store: NetworkStore, index?: string): Promise<readonly string[]> =>
  (await store.find({ kind: "thing", index })).map(({ id }) => id);

type Body = (store: NetworkStore, again: () => Promise<NetworkStore>) => Promise<void>;

const TESTS: Readonly<Record<string, Body>> = {
  "gives back what was put, and nothing for what was not": async (store) => {
    const value: JsonObject = { text: 'ä€😀\n"\\', number: -1.5, none: null, list: [1, { deep: true }], "odd key": "" };
    const version = await make(store, put("a", 0, { value }));
    assert.deepEqual(await store.get("thing", "a"), { ...(await store.get("thing", "a")), value, version, id: "a" });
    assert.equal(await store.get("thing", "b"), undefined);
    assert.equal(await store.get("other", "a"), undefined);
    const read = await store.get("thing", "a");
    (read?.value as { text: string }).text = "changed by the caller";
    assert.deepEqual((await store.get("thing", "a"))?.value, value);
  },
  "makes a record once": async (store) => {
    await make(store, put("a", 0));
    const error = await conflict(store, [put("a", 0, { value: { other: 1 } })]);
    assert.deepEqual([error.reason, error.kind, error.id], ["version", "thing", "a"]);
    assert.deepEqual((await store.get("thing", "a"))?.value, { id: "a" });
  },
  "replaces and deletes only the version that was read": async (store) => {
    const first = await make(store, put("a", 0));
    const second = await make(store, put("a", first, { value: { n: 2 } }));
    assert.ok(second > first);
    assert.equal((await conflict(store, [put("a", first)])).reason, "version");
    assert.equal(
      (await conflict(store, [{ op: "delete", kind: "thing", id: "a", expected: first }])).reason,
      "version",
    );
    assert.equal((await conflict(store, [{ op: "delete", kind: "thing", id: "b", expected: 1 }])).reason, "version");
    await make(store, { op: "delete", kind: "thing", id: "a", expected: second });
    assert.equal(await store.get("thing", "a"), undefined);
    const third = await make(store, put("a", 0));
    assert.ok(third > second, "a version is never used twice");
  },
  "does all of a commit or nothing": async (store) => {
    const version = await make(store, put("a", 0, { index: ["x"], unique: ["u"] }));
    await conflict(store, [put("b", 0), put("a", version, { index: ["y"], unique: ["v"] }), put("c", 7)]);
    assert.deepEqual(await ids(store), ["a"]);
    assert.deepEqual([await ids(store, "x"), await ids(store, "y")], [["a"], []]);
    assert.equal((await store.getByUnique("thing", "u"))?.id, "a");
    assert.equal(await store.getByUnique("thing", "v"), undefined);
  },
  "returns the versions of puts in their order": async (store) => {
    const versions = await store.commit([put("z", 0), put("a", 0), put("m", 0)]);
    const read = await Promise.all(["z", "a", "m"].map((id) => store.get("thing", id)));
    assert.deepEqual(
      versions,
      read.map((record) => record?.version),
    );
    const [z = 0, , m = 0] = versions;
    const after = await store.commit([
      { op: "delete", kind: "thing", id: "z", expected: z },
      { op: "expect", kind: "thing", id: "m", expected: m },
      put("y", 0),
    ]);
    assert.deepEqual(after, [(await store.get("thing", "y"))?.version]);
  },
  "holds a commit to the versions that it expects": async (store) => {
    const version = await make(store, put("a", 0));
    await make(store, { op: "expect", kind: "thing", id: "a", expected: version }, put("b", 0));
    await make(store, put("a", version));
    await conflict(store, [{ op: "expect", kind: "thing", id: "a", expected: version }, put("c", 0)]);
    await conflict(store, [{ op: "expect", kind: "thing", id: "none", expected: 1 }, put("c", 0)]);
    assert.deepEqual(await ids(store), ["a", "b"]);
  },
  "keeps unique keys apart, within their kind": async (store) => {
    const a = await make(store, put("a", 0, { unique: ["mac"] }));
    const error = await conflict(store, [put("b", 0, { unique: ["mac"] })]);
    assert.deepEqual([error.reason, error.id, error.key], ["unique", "b", "mac"]);
    assert.equal(
      (await conflict(store, [put("c", 0, { unique: ["k"] }), put("d", 0, { unique: ["k"] })])).reason,
      "unique",
    );
    await make(store, put("a", 0, { kind: "other", unique: ["mac"] }));
    await make(store, put("a", a, { unique: [] }), put("b", 0, { unique: ["mac"] }));
    assert.equal((await store.getByUnique("thing", "mac"))?.id, "b");
    const b = (await store.get("thing", "b"))?.version ?? 0;
    const kept = await make(store, put("b", b, { unique: ["mac"], value: { again: true } }));
    await make(store, { op: "delete", kind: "thing", id: "b", expected: kept }, put("e", 0, { unique: ["mac"] }));
    assert.equal((await store.getByUnique("thing", "mac"))?.id, "e");
  },
  "finds by index in the order given, page by page": async (store) => {
    const orders: Readonly<Record<string, number>> = { a: 5, b: -3, c: 5, d: 0, e: 2 ** 40 };
    await store.commit(Object.entries(orders).map(([id, order]) => put(id, 0, { order, index: ["x", `own-${id}`] })));
    assert.deepEqual(await ids(store, "x"), ["b", "d", "a", "c", "e"]);
    assert.deepEqual(await ids(store, "own-c"), ["c"]);
    assert.deepEqual(await ids(store, "none"), []);
    const first = await store.find({ kind: "thing", index: "x", limit: 3 });
    assert.deepEqual(
      first.map(({ id }) => id),
      ["b", "d", "a"],
    );
    const rest = await store.find({ kind: "thing", index: "x", after: first[2] });
    assert.deepEqual(
      rest.map(({ id, order }) => [id, order]),
      [
        ["c", 5],
        ["e", 2 ** 40],
      ],
    );
    assert.equal(await store.count("thing", "x"), 5);
    const d = (await store.get("thing", "d"))?.version ?? 0;
    await make(store, put("d", d, { index: ["x"], order: 9 }));
    assert.deepEqual(await ids(store, "x"), ["b", "a", "c", "d", "e"]);
    assert.deepEqual(await ids(store, "own-d"), []);
  },
  "lists a kind by id, page by page": async (store) => {
    const names = Array.from({ length: 25 }, (_, at) => `id-${String((at * 7) % 25).padStart(2, "0")}`);
    await store.commit([
      ...names.map((id) => put(id, 0, { order: names.indexOf(id) })),
      put("id-00", 0, { kind: "other" }),
    ]);
    const read: string[] = [];
    for (let after: { id: string; order: number } | undefined; ;) {
      const page = await store.find({ kind: "thing", limit: 10, after });
      read.push(...page.map(({ id }) => id));
      after = page.at(-1);
      if (page.length < 10) break;
    }
    assert.deepEqual(read, [...names].sort());
  },
  "refuses what would be one too many": async (store) => {
    const limit: StoreChange = { op: "limit", kind: "thing", index: "p", atMost: 2 };
    await make(store, put("a", 0, { index: ["p"] }), limit);
    const b = await make(store, put("b", 0, { index: ["p"] }), limit);
    assert.equal((await conflict(store, [limit, put("c", 0, { index: ["p"] })])).reason, "limit");
    await make(store, put("c", 0, { index: ["q"] }), limit);
    await make(store, { op: "delete", kind: "thing", id: "b", expected: b }, put("d", 0, { index: ["p"] }), limit);
    assert.equal(await store.count("thing", "p"), 2);
  },
  "holds a limit against commits made at once": async (store, again) => {
    const other = await again();
    const results = await Promise.allSettled(
      Array.from({ length: 24 }, (_, at) =>
        (at % 2 === 0 ? store : other).commit([
          put(`n${at}`, 0, { index: ["p"] }),
          { op: "limit", kind: "thing", index: "p", atMost: 7 },
        ]),
      ),
    );
    assert.equal(results.filter(({ status }) => status === "fulfilled").length, 7);
    assert.equal(await store.count("thing", "p"), 7);
    await other.close();
  },
  "lets one of many win a version, and one a unique key": async (store, again) => {
    const other = await again();
    const version = await make(store, put("a", 0));
    const race = await Promise.allSettled(
      Array.from({ length: 16 }, (_, at) =>
        (at % 2 === 0 ? store : other).commit([put("a", version, { value: { at } }), put(`b${at}`, 0)]),
      ),
    );
    assert.equal(race.filter(({ status }) => status === "fulfilled").length, 1);
    assert.equal((await store.find({ kind: "thing" })).length, 2);
    const keys = await Promise.allSettled(
      Array.from({ length: 16 }, (_, at) =>
        (at % 2 === 0 ? store : other).commit([put(`c${at}`, 0, { unique: ["k"] })]),
      ),
    );
    assert.equal(keys.filter(({ status }) => status === "fulfilled").length, 1);
    await other.close();
  },
  "loses no step of counters that two openers raise at once": async (store, again) => {
    const other = await again();
    await store.commit([put("a", 0, { value: { n: 0 } }), put("b", 0, { value: { n: 0 } })]);
    const raise = async (through: NetworkStore, names: readonly string[]): Promise<void> => {
      for (;;) {
        const read = await Promise.all(names.map((id) => through.get("thing", id)));
        const changes = read.map((record) =>
          put(record?.id ?? "", record?.version ?? 0, { value: { n: Number(record?.value["n"]) + 1 } }),
        );
        const error: unknown = await through.commit(changes).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        if (error === undefined) return;
        assert.ok(isHyperviseError(error, "STORE_CONFLICT"), "raising a counter fails by nothing but conflicts");
      }
    };
    const workers = [0, 1, 2, 3].map(async (worker) => {
      for (let turn = 0; turn < 15; turn++)
        await raise(worker % 2 === 0 ? store : other, worker < 2 ? ["a", "b"] : ["b", "a"]);
    });
    await Promise.all(workers);
    const counts = await Promise.all(["a", "b"].map(async (id) => (await store.get("thing", id))?.value));
    assert.deepEqual(counts, [{ n: 60 }, { n: 60 }]);
    await other.close();
  },
  "takes many changes in one commit": async (store) => {
    const many = Array.from({ length: 3_000 }, (_, at) => put(`n${at}`, 0, { index: ["all"], unique: [`u${at}`] }));
    assert.equal((await store.commit(many)).length, 3_000);
    assert.equal(await store.count("thing", "all"), 3_000);
    assert.equal((await store.find({ kind: "thing", index: "all", limit: 10_000 })).length, 3_000);
  },
  "refuses what no store can keep": async (store) => {
    const bad: readonly (readonly StoreChange[])[] = [
      [],
      [put("a", 0), put("a", 0)],
      [put("", 0)],
      [put("with space", 0)],
      [put("é", 0)],
      [put("x".repeat(256), 0)],
      [put("a", 0, { kind: "Bad Kind" })],
      [put("a", -1)],
      [put("a", 0.5)],
      [put("a", 0, { value: { text: "\0" } })],
      [put("a", 0, { value: { text: "\ud800" } })],
      [put("a", 0, { value: { number: Number.NaN } })],
      [put("a", 0, { value: { text: "x".repeat(70_000) } })],
      [put("a", 0, { index: ["x", "x"] })],
      [put("a", 0, { unique: Array.from({ length: 17 }, (_, at) => `u${at}`) })],
      [put("a", 0, { order: 0.1 })],
      [{ op: "delete", kind: "thing", id: "a", expected: 0 }],
      [{ op: "limit", kind: "thing", index: "x", atMost: -1 }],
    ];
    for (const changes of bad) await assert.rejects(store.commit(changes), InvalidArgumentError);
    await assert.rejects(store.find({ kind: "thing", limit: 0 }), InvalidArgumentError);
    await assert.rejects(store.get("thing", "a b"), InvalidArgumentError);
    assert.deepEqual(await ids(store), []);
  },
  "does nothing on an aborted signal": async (store) => {
    const signal = AbortSignal.abort();
    await assert.rejects(store.commit([put("a", 0)], { signal }), AbortedError);
    await assert.rejects(store.find({ kind: "thing" }, { signal }), AbortedError);
    assert.equal(await store.get("thing", "a"), undefined);
  },
  "shows a second opener what the first committed": async (store, again) => {
    await make(store, put("a", 0, { index: ["x"], unique: ["u"], order: 4 }));
    const other = await again();
    const version = (await other.get("thing", "a"))?.version ?? 0;
    await make(other, put("a", version, { value: { by: "other" }, index: ["x"] }));
    assert.deepEqual((await store.get("thing", "a"))?.value, { by: "other" });
    assert.equal(await store.getByUnique("thing", "u"), undefined);
    await other.close();
    await other.close();
    await assert.rejects(other.get("thing", "a"), ClosedError);
    await assert.rejects(other.commit([put("b", 0)]), ClosedError);
    assert.equal(await store.count("thing", "x"), 1);
  },
};

/** Defines the suite: `defineNetworkStoreContract(harness, { describe, it, beforeAll, afterAll })`. */
export function defineNetworkStoreContract(harness: NetworkStoreHarness, runner: ContractRunner): void {
  const timeoutMs = harness.testTimeoutMs ?? 30_000;
  hooksOf(runner);
  runner.describe(`network store contract: ${harness.name}`, () => {
    for (const [name, body] of Object.entries(TESTS)) {
      const needsAgain = body.length > 1;
      runner.it(
        name,
        async () => {
          const { store, again, remove } = await harness.create();
          try {
            // A store of one process is its own second opener.
            if (!needsAgain || again !== undefined) await body(store, again ?? (async () => store));
          } finally {
            await store.close();
            await remove();
          }
        },
        timeoutMs,
      );
    }
  });
}

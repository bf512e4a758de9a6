import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConflictError, HyperviseError, Journal, MemoryStateStore, VirtualClock } from "../../../src/core/index.js";
import type { JsonObject, JsonValue, StateStore, Transaction, UndoTable } from "../../../src/core/index.js";

/** What an operation does to the host: a set of things that are there, and a log of what was done to it. */
class World {
  readonly things = new Set<string>();
  readonly log: string[] = [];

  readonly undo: UndoTable = {
    thing: async ({ name }) => {
      if (this.things.delete(String(name))) this.log.push(`undo ${String(name)}`);
    },
    stubborn: () => Promise.reject(new Error("still busy")),
  };

  async add(name: string): Promise<string> {
    this.things.add(name);
    this.log.push(`do ${name}`);
    return name;
  }
}

const thing = (name: string): { kind: string; data: JsonObject } => ({ kind: "thing", data: { name } });

/** Dies at the n-th step: from then on nothing that the old process awaits ever comes back. */
class Crash {
  #left: number;
  dead = false;

  constructor(steps: number) {
    this.#left = steps;
  }

  async step<T>(run: () => Promise<T>): Promise<T> {
    if (this.#left-- <= 0) this.dead = true;
    if (this.dead) return new Promise<T>(() => undefined);
    const result = await run();
    if (this.#left-- <= 0) this.dead = true;
    return this.dead ? new Promise<T>(() => undefined) : result;
  }

  store(inner: StateStore): StateStore {
    return {
      get: (key) => this.step(() => inner.get(key)),
      put: (key, value) => this.step(() => inner.put(key, value)),
      delete: (key) => this.step(() => inner.delete(key)),
      list: (prefix) => this.step(() => inner.list(prefix)),
    };
  }

  table(undo: UndoTable): UndoTable {
    return Object.fromEntries(
      Object.entries(undo).map(([kind, run]) => [kind, (data, context) => this.step(() => run(data, context))]),
    );
  }
}

async function spawn(
  tx: Transaction,
  world: World,
  crash: Crash,
  options: { failAt?: string; commitPoint?: boolean } = {},
): Promise<void> {
  try {
    for (const name of ["disk", "tap", "process"]) {
      await tx.effect(thing(name), () =>
        crash.step(async () => {
          await world.add(name);
          if (options.failAt === name) throw new ConflictError(`${name} failed`);
        }),
      );
      await tx.phase(`${name} ready`);
    }
    if (options.commitPoint === true) {
      await tx.passPointOfNoReturn({ done: true });
      await crash.step(() => world.add("record"));
    }
    await tx.commit();
  } catch (error) {
    await tx.rollback(error as Error);
    throw error;
  }
}

/** Runs to the end or to the crash, whichever comes first. */
async function outcome(promise: Promise<void>): Promise<"done" | "failed" | "dead"> {
  const settled = promise.then(
    () => "done" as const,
    () => "failed" as const,
  );
  const dead = (async () => {
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    return "dead" as const;
  })();
  return Promise.race([settled, dead]);
}

describe("a transaction", () => {
  it("has each effect on record before it happens", async () => {
    const store = new MemoryStateStore();
    const world = new World();
    const journal = new Journal({ store, undo: world.undo, clock: new VirtualClock({ now: 5 }), newId: () => "op1" });
    const tx = await journal.begin({ kind: "spawn", instanceUuid: "u1", params: { memoryMiB: 128 } });
    const result = await tx.effect(thing("tap"), async () => {
      expect(await store.get("journal/op1")).toEqual({
        version: 1,
        id: "op1",
        kind: "spawn",
        instanceUuid: "u1",
        params: { memoryMiB: 128 },
        startedAt: 5,
        sequence: 0,
        phase: "begun",
        committed: false,
        effects: [thing("tap")],
      });
      return world.add("tap");
    });
    expect(result).toBe("tap");
    expect(journal.active).toBe(1);
    await tx.commit();
    expect([store.size, journal.active, tx.open]).toEqual([0, 0, false]);
  });

  it("does nothing when the record can't be written", async () => {
    const world = new World();
    const inner = new MemoryStateStore();
    let full = false;
    const store: StateStore = {
      get: (k) => inner.get(k),
      list: (p) => inner.list(p),
      delete: (k) => inner.delete(k),
      put: (k, v) => (full ? Promise.reject(new Error("ENOSPC")) : inner.put(k, v)),
    };
    const journal = new Journal({ store, undo: world.undo });
    const tx = await journal.begin({ kind: "spawn", params: {} });
    full = true;
    await expect(tx.effect(thing("tap"), () => world.add("tap"))).rejects.toThrow("ENOSPC");
    await expect(tx.phase("x")).rejects.toThrow("ENOSPC");
    expect(world.log).toEqual([]);
    expect(tx.record.effects).toEqual([]);
    await tx.rollback(new Error("x"));
    expect(inner.size).toBe(0);
    await expect(journal.begin({ kind: "spawn", params: {} })).rejects.toThrow("ENOSPC");
    expect(journal.active).toBe(0);
  });

  it("undoes in reverse, also what failed half-way, and leaves no record", async () => {
    const store = new MemoryStateStore();
    const world = new World();
    const journal = new Journal({ store, undo: world.undo });
    const tx = await journal.begin({ kind: "spawn", params: {} });
    await expect(spawn(tx, world, new Crash(1e9), { failAt: "process" })).rejects.toThrow("process failed");
    expect(world.log.slice(3)).toEqual(["undo process", "undo tap", "undo disk"]);
    expect([store.size, journal.active]).toEqual([0, 0]);
  });

  it("attaches what it could not undo to the first error, and leaves exactly that on record", async () => {
    const store = new MemoryStateStore();
    const world = new World();
    const journal = new Journal({ store, undo: world.undo });
    const tx = await journal.begin({ kind: "spawn", params: {} });
    await tx.effect(thing("a"), () => world.add("a"));
    await tx.effect({ kind: "stubborn", data: {} }, async () => undefined);
    await tx.effect(thing("b"), () => world.add("b"));
    const cause = new ConflictError("first");
    await tx.rollback(cause);
    expect(cause.undoErrors).toMatchObject([
      { code: "UNDO_FAILED", step: "stubborn", cause: { message: "still busy" } },
    ]);
    expect(world.things.size).toBe(0);
    expect((await journal.pending())[0]?.effects).toEqual([{ kind: "stubborn", data: {} }]);
    const foreign = new Error("foreign") as Error & { undoErrors?: unknown[] };
    const tx2 = await journal.begin({ kind: "spawn", params: {} });
    await tx2.effect({ kind: "stubborn", data: {} }, async () => undefined);
    await tx2.rollback(foreign);
    expect(foreign.undoErrors).toHaveLength(1);
  });

  it("refuses effects that nothing could undo, and calls after its end", async () => {
    const world = new World();
    const journal = new Journal({ store: new MemoryStateStore(), undo: world.undo });
    const tx = await journal.begin({ kind: "spawn", params: {} });
    for (const kind of ["unknown", "toString", "__proto__"]) {
      await expect(tx.effect({ kind, data: {} }, () => world.add("x"))).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    }
    await tx.commit();
    await expect(tx.effect(thing("x"), () => world.add("x"))).rejects.toMatchObject({ code: "CLOSED" });
    await expect(tx.phase("x")).rejects.toMatchObject({ code: "CLOSED" });
    await expect(tx.commit()).rejects.toMatchObject({ code: "CLOSED" });
    await tx.rollback(new Error("too late"));
    expect(world.log).toEqual([]);
  });

  it("takes effects side by side; rollback waits for those under way and refuses new ones", async () => {
    const store = new MemoryStateStore();
    const world = new World();
    const tx = await new Journal({ store, undo: world.undo }).begin({ kind: "spawn", params: {} });
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    const slow = tx.effect(thing("slow"), async () => {
      await released;
      await world.add("slow");
    });
    const quick = Promise.all(
      Array.from({ length: 20 }, (_, i) => tx.effect(thing(`q${i}`), () => world.add(`q${i}`))),
    );
    await quick;
    await expect(tx.commit()).rejects.toMatchObject({ code: "CONFLICT" });
    const rollback = tx.rollback(new Error("x"));
    const late = tx.effect(thing("late"), () => world.add("late"));
    await expect(late).rejects.toMatchObject({ code: "CLOSED" });
    expect(world.things.size).toBe(20);
    release();
    await Promise.all([slow, rollback, tx.rollback(new Error("again"))]);
    expect([world.things.size, store.size]).toEqual([0, 0]);
    expect(world.log).not.toContain("do late");
  });

  it("can put on record what it learns while an effect happens", async () => {
    const store = new MemoryStateStore();
    const world = new World();
    const tx = await new Journal({ store, undo: world.undo }).begin({ kind: "spawn", params: {} });
    await tx.effect(thing("unknown-yet"), async (amend) => {
      await amend({ name: "tap7" });
      expect(tx.record.effects).toEqual([thing("tap7")]);
      await world.add("tap7");
      await amend({ name: "tap7", pid: 1 });
    });
    expect(tx.record.effects).toEqual([{ kind: "thing", data: { name: "tap7", pid: 1 } }]);
    await tx.rollback(new Error("x"));
    expect(world.things.size).toBe(0);
  });

  it("stays open when the commit can't be made durable", async () => {
    const world = new World();
    const inner = new MemoryStateStore();
    let broken = true;
    const store: StateStore = {
      get: (k) => inner.get(k),
      list: (p) => inner.list(p),
      put: (k, v) => inner.put(k, v),
      delete: (k) => (broken ? Promise.reject(new Error("EIO")) : inner.delete(k)),
    };
    const tx = await new Journal({ store, undo: world.undo }).begin({ kind: "spawn", params: {} });
    await tx.effect(thing("a"), () => world.add("a"));
    await expect(tx.commit()).rejects.toThrow("EIO");
    expect(tx.open).toBe(true);
    const cause = new ConflictError("x");
    await tx.rollback(cause);
    expect(cause.undoErrors).toMatchObject([{ step: "the record of the operation" }]);
    expect(world.things.size).toBe(0);
    broken = false;
  });

  it("is left to recovery when it fails after its point of no return", async () => {
    const store = new MemoryStateStore();
    const world = new World();
    const journal = new Journal({ store, undo: world.undo });
    const tx = await journal.begin({ kind: "spawn", params: {} });
    await tx.effect(thing("a"), () => world.add("a"));
    await tx.passPointOfNoReturn();
    await tx.rollback(new Error("late failure"));
    expect([...world.things]).toEqual(["a"]);
    const report = await journal.recover({ spawn: async (op) => void (await world.add(`completed ${op.kind}`)) });
    expect(report).toMatchObject({ clean: true, operations: [{ outcome: "completed", kind: "spawn" }] });
    expect(store.size).toBe(0);
  });
});

describe("recovery after a crash at any step", () => {
  const totalSteps = 2 * 30;

  it.each(["succeeds", "fails", "has a commit point"] as const)("of an operation that %s", async (plan) => {
    const seen = new Set<string>();
    for (let at = 0; at <= totalSteps; at++) {
      const store = new MemoryStateStore();
      const world = new World();
      const crash = new Crash(at);
      const journal = new Journal({ store: crash.store(store), undo: crash.table(world.undo) });
      const options = plan === "fails" ? { failAt: "process" } : { commitPoint: plan === "has a commit point" };
      const run = async (): Promise<void> =>
        spawn(await journal.begin({ kind: "spawn", params: {} }), world, crash, options);
      const how = await outcome(run());

      const completed: JsonValue[] = [];
      const next = new Journal({ store, undo: world.undo });
      const report = await next.recover({
        spawn: async (operation) => {
          completed.push(operation.params);
          world.things.add("record");
        },
      });
      seen.add(`${how}/${report.operations[0]?.outcome ?? "nothing"}`);
      expect(report.clean).toBe(true);
      expect(store.size).toBe(0);
      expect(await next.recover()).toEqual({ operations: [], clean: true });
      const names = [...world.things].sort();
      if (completed.length > 0) expect(completed).toEqual([{ done: true }]);
      const whole = plan === "has a commit point" ? ["disk", "process", "record", "tap"] : ["disk", "process", "tap"];
      if (report.operations[0]?.outcome === "undone" || how === "failed") expect(names).toEqual([]);
      else if (how === "done" || report.operations[0]?.outcome === "completed") expect(names).toEqual(whole);
      else expect(names.length === 0 || names.length === whole.length).toBe(true);
    }
    const expected = {
      succeeds: ["dead/nothing", "dead/undone", "done/nothing"],
      fails: ["dead/nothing", "dead/undone", "failed/nothing"],
      "has a commit point": ["dead/completed", "dead/nothing", "dead/undone", "done/nothing"],
    };
    expect([...seen].sort()).toEqual(expected[plan]);
  });

  it("when it crashes again while recovering, as often as it likes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(30), fc.array(fc.nat(14), { maxLength: 5 }), async (first, crashes) => {
        const store = new MemoryStateStore();
        const world = new World();
        for (const [i, at] of [first, ...crashes].entries()) {
          const crash = new Crash(at);
          const journal = new Journal({ store: crash.store(store), undo: crash.table(world.undo) });
          const spawnOnce = async (): Promise<void> =>
            spawn(await journal.begin({ kind: "spawn", params: {} }), world, crash, { failAt: "process" });
          await outcome(i === 0 ? spawnOnce() : journal.recover().then(() => undefined));
        }
        const report = await new Journal({ store, undo: world.undo }).recover();
        expect([report.clean, world.things.size, store.size]).toEqual([true, 0, 0]);
      }),
      { numRuns: 60 },
    );
  });
});

describe("recovery", () => {
  it("goes through operations from the newest to the oldest, each one's effects too, whatever fails", async () => {
    const store = new MemoryStateStore();
    const world = new World();
    const clock = new VirtualClock();
    const old = new Journal({ store, undo: world.undo, clock });
    for (const name of ["a", "b", "c"]) {
      const tx = await old.begin({ kind: name, params: {} });
      for (const part of ["1", "2"]) await tx.effect(thing(name + part), () => world.add(name + part));
      if (name === "b") await tx.effect({ kind: "stubborn", data: {} }, async () => undefined);
      if (name !== "c") await clock.tick(1);
    }
    await store.put("journal/garbage", { version: 99 });
    await store.put("journal/garbage2", [1, 2]);
    const journal = new Journal({ store, undo: world.undo });
    await expect(journal.pending()).rejects.toMatchObject({ code: "STATE_CORRUPT" });
    const report = await journal.recover();
    expect(world.log.slice(6)).toEqual(["undo c2", "undo c1", "undo b2", "undo b1", "undo a2", "undo a1"]);
    expect(report.clean).toBe(false);
    expect(report.operations.map((o) => [o.kind, o.outcome])).toEqual([
      [undefined, "failed"],
      [undefined, "failed"],
      ["c", "undone"],
      ["b", "failed"],
      ["a", "undone"],
    ]);
    expect(report.operations[0]?.errors[0]).toMatchObject({
      code: "STATE_CORRUPT",
      detail: expect.stringContaining("garbage") as string,
    });
    expect(report.operations[3]?.errors).toMatchObject([{ code: "UNDO_FAILED", step: "stubborn" }]);
    expect(store.size).toBe(3);
  });

  it("leaves the operations of its own process alone", async () => {
    const store = new MemoryStateStore();
    const world = new World();
    const journal = new Journal({ store, undo: world.undo });
    const tx = await journal.begin({ kind: "spawn", params: {} });
    await tx.effect(thing("a"), () => world.add("a"));
    expect(await journal.recover()).toEqual({ operations: [], clean: true });
    expect(await journal.pending()).toEqual([]);
    expect(await new Journal({ store, undo: world.undo }).pending()).toHaveLength(1);
    await tx.commit();
  });

  it("keeps a committed operation that it can't complete", async () => {
    const store = new MemoryStateStore();
    const world = new World();
    const tx = await new Journal({ store, undo: world.undo }).begin({ kind: "destroy", instanceUuid: "u", params: {} });
    await tx.passPointOfNoReturn();
    const journal = new Journal({ store, undo: world.undo });
    const report = await journal.recover();
    expect(report.operations).toMatchObject([
      { kind: "destroy", instanceUuid: "u", outcome: "failed", errors: [{ code: "INTERNAL" }] },
    ]);
    const failing = await journal.recover({ destroy: () => Promise.reject(new HyperviseError("no", { code: "X" })) });
    expect(failing.operations).toMatchObject([{ outcome: "failed", errors: [{ code: "X" }] }]);
    expect((await journal.recover({ destroy: async () => undefined })).clean).toBe(true);
    expect(store.size).toBe(0);
  });

  it("keeps an effect whose undo it does not know, as of a newer release", async () => {
    const store = new MemoryStateStore();
    const tx = await new Journal({ store, undo: { newer: async () => undefined } }).begin({
      kind: "spawn",
      params: {},
    });
    await tx.effect({ kind: "newer", data: {} }, async () => undefined);
    const report = await new Journal({ store, undo: {} }).recover();
    expect(report.operations).toMatchObject([{ outcome: "failed", errors: [{ code: "UNDO_FAILED", step: "newer" }] }]);
    expect(store.size).toBe(1);
  });

  it("handles many operations at once", async () => {
    const store = new MemoryStateStore();
    const world = new World();
    const journal = new Journal({ store, undo: world.undo });
    await Promise.all(
      Array.from({ length: 500 }, async (_, i) => {
        const tx = await journal.begin({ kind: "spawn", params: {} });
        for (const part of ["a", "b", "c"]) await tx.effect(thing(`${i}${part}`), () => world.add(`${i}${part}`));
        if (i % 2 === 0) await tx.commit();
        else await tx.rollback(new Error("x"));
      }),
    );
    expect([world.things.size, store.size, journal.active]).toEqual([750, 0, 0]);
  });
});

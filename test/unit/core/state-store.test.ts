import { describe, expect, it } from "vitest";
import { InvalidArgumentError, MemoryStateStore, cloneJson, cloneJsonObject } from "../../../src/core/index.js";
import type { JsonValue } from "../../../src/core/index.js";

describe("MemoryStateStore", () => {
  it("gives back copies of what was put", async () => {
    const store = new MemoryStateStore();
    const value = { list: [1, { a: "x" }], gone: undefined } as unknown as { list: JsonValue[] };
    await store.put("instances/1", value);
    value.list.push(3);
    const read = (await store.get("instances/1")) as { list: JsonValue[] };
    expect(read).toStrictEqual({ list: [1, { a: "x" }] });
    read.list.push("mine");
    expect(await store.get("instances/1")).toStrictEqual({ list: [1, { a: "x" }] });
  });

  it("lists by prefix, sorted, and deletes what may be absent", async () => {
    const store = new MemoryStateStore();
    for (const key of ["b/2", "a/1", "b/10", "bc"]) await store.put(key, null);
    expect(await store.list("b/")).toEqual(["b/10", "b/2"]);
    expect(await store.list("")).toEqual(["a/1", "b/10", "b/2", "bc"]);
    await store.delete("b/2");
    await store.delete("b/2");
    expect(await store.get("b/2")).toBeUndefined();
    expect(await store.get("a/1")).toBeNull();
  });

  it.each([
    "",
    "/a",
    "a/",
    "a//b",
    "..",
    "a/../b",
    ".hidden",
    "a b",
    "a\u0000",
    "ä",
    "a.json",
    "a.tmp/b",
    "x".repeat(129),
    "a/b/c/d/e/f/g/h/i",
    "x/".repeat(300),
  ])("refuses the key %j", async (key) => {
    const store = new MemoryStateStore();
    await expect(store.get(key)).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(store.put(key, 1)).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(store.delete(key)).rejects.toBeInstanceOf(InvalidArgumentError);
  });
});

describe("cloneJson", () => {
  it("copies what JSON can carry and freezes it", () => {
    const value = { a: [1, "x", null, true, -0], b: { c: 1.5 }, u: undefined };
    const copy = cloneJsonObject(value);
    expect(copy).toStrictEqual({ a: [1, "x", null, true, 0], b: { c: 1.5 } });
    expect(Object.isFrozen(copy) && Object.isFrozen(copy["a"]) && Object.isFrozen(copy["b"])).toBe(true);
    expect(cloneJson(copy)).toBe(copy);
    expect(cloneJson({ wrapped: copy })).toStrictEqual({ wrapped: copy });
    expect(cloneJson(Object.freeze({ a: Object.freeze([1]) }))).toStrictEqual({ a: [1] });
  });

  it("names the place of what it can't carry", () => {
    const cycle: Record<string, unknown> = {};
    cycle["self"] = cycle;
    const cases: readonly [unknown, string][] = [
      [{ a: [1, NaN] }, "v.a[1]"],
      [{ a: Infinity }, "v.a"],
      [{ a: 1n }, "v.a"],
      [[undefined], "v[0]"],
      [{ a: { b: () => 1 } }, "v.a.b"],
      [{ a: new Date() }, "v.a"],
      [{ a: new Map() }, "v.a"],
      [JSON.parse('{"__proto__": 1}'), "v.__proto__"],
      [
        {
          get a() {
            return 1;
          },
        },
        "v.a",
      ],
      [undefined, "v"],
      [cycle, `v${".self".repeat(64)}`],
    ];
    for (const [value, field] of cases) {
      expect(() => cloneJson(value, "v")).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", field }) as Error,
      );
    }
    expect(() => cloneJsonObject([1])).toThrow(/a JSON object/);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InvalidArgumentError, Secret, check } from "../../../src/core/index.js";
import type { Check } from "../../../src/core/index.js";

function refusal(run: Check<unknown>, value: unknown, path = "spec"): InvalidArgumentError {
  try {
    run(value, path);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return error as InvalidArgumentError;
  }
  return expect.fail(`accepted ${typeof value}`);
}

const spec = check.object({
  name: check.string({ max: 63, charset: "name" }),
  memoryMiB: check.integer({ min: 1, max: 1 << 20 }),
  nics: check.withDefault(
    check.array(check.object({ mac: check.mac(), model: check.optional(check.oneOf(["virtio", "e1000"])) }), {
      max: 4,
    }),
    [],
  ),
  metadata: check.optional(check.record(check.string({ max: 20 }), check.string(), { max: 3 })),
  password: check.optional(check.secret({ max: 8 })),
});

describe("check.object", () => {
  it("returns plain frozen data of its own", () => {
    const nics = [{ mac: "52:54:00:AA:BB:CC" }];
    const input = { name: "web", memoryMiB: 512, nics, metadata: { role: "front" } };
    const checked = spec(input, "spec");
    nics.push({ mac: "x" });
    expect(checked).toStrictEqual({
      name: "web",
      memoryMiB: 512,
      nics: [{ mac: "52:54:00:aa:bb:cc" }],
      metadata: { role: "front" },
    });
    expect([checked, checked.nics, checked.nics[0], checked.metadata].every(Object.isFrozen)).toBe(true);
    expect(spec({ name: "a", memoryMiB: 1, metadata: undefined }, "spec")).toStrictEqual({
      name: "a",
      memoryMiB: 1,
      nics: [],
    });
  });

  it.each<[string, Record<string, unknown>, string]>([
    ["a nested field", { nics: [{ mac: "52:54:00:aa:bb:cc" }, { mac: "zz" }] }, "spec.nics[1].mac"],
    ["a missing field", { name: undefined }, "spec.name"],
    ["an unknown key", { memory: 5 }, "spec.memory"],
    ["an odd key", { "a b\n": 5 }, 'spec["a b\\n"]'],
    ["an unknown key deep inside", { nics: [{ mac: "52:54:00:aa:bb:cc", x: 1 }] }, "spec.nics[0].x"],
    ["a record's value", { metadata: { role: 5 } }, "spec.metadata.role"],
    ["a record's key", { metadata: { ["k".repeat(21)]: "v" } }, "spec.metadata key"],
    ["too many keys", { metadata: { a: "1", b: "2", c: "3", d: "4" } }, "spec.metadata"],
    ["too many items", { nics: new Array(5).fill({ mac: "52:54:00:aa:bb:cc" }) }, "spec.nics"],
    ["a wrong container", { nics: {} }, "spec.nics"],
    ["null", { metadata: null }, "spec.metadata"],
  ])("names the path of %s", (_, wrong, field) => {
    expect(refusal(spec, { name: "web", memoryMiB: 1, ...wrong }).field).toBe(field);
  });

  it("tells the known keys to whom used an unknown one", () => {
    const error = refusal(spec, { name: "web", memoryMiB: 1, memoryMB: 2 });
    expect(error.message).toBe(
      "spec.memoryMB: expected nothing here (known keys: name, memoryMiB, nics, metadata, password), got 2",
    );
  });

  it("refuses what only looks like data", () => {
    class Spec {
      name = "web";
      memoryMiB = 1;
    }
    let called = 0;
    const getter = Object.defineProperty({ memoryMiB: 1 }, "name", { enumerable: true, get: () => called++ });
    const optional = Object.defineProperty({ name: "web", memoryMiB: 1 }, "nics", {
      enumerable: true,
      get: () => called++,
    });
    expect(refusal(spec, optional).field).toBe("spec.nics");
    const throwing = new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error("trap");
        },
      },
    );
    const { proxy: revoked, revoke } = Proxy.revocable({}, {});
    revoke();
    const inherited = Object.create({ name: "web", memoryMiB: 1 }) as object;
    const symbol = { name: "web", memoryMiB: 1, [Symbol("x")]: 1 };
    const values = [
      new Spec(),
      getter,
      throwing,
      revoked,
      inherited,
      symbol,
      [],
      new Map(),
      new Date(),
      "x",
      1,
      null,
      undefined,
      () => 1,
    ];
    for (const value of values) expect(refusal(spec, value).field).toMatch(/^spec/);
    expect(called).toBe(0);
    const lying = new Proxy([], {
      get: (target, key) => (key === "length" ? 1e9 : (Reflect.get(target, key) as unknown)),
    });
    expect(refusal(check.array(check.integer()), lying).expected).toBe("a list of 0 to 1024");
  });

  it("reads each property once, so that a proxy can't show two faces", () => {
    const reads = new Map<PropertyKey, number>();
    const target = { name: "web", memoryMiB: 1 };
    const proxy = new Proxy(target, {
      getOwnPropertyDescriptor: (t, key) => {
        reads.set(key, (reads.get(key) ?? 0) + 1);
        return Reflect.getOwnPropertyDescriptor(t, key);
      },
      get: (_, key) => expect.fail(`read ${String(key)}`),
    });
    expect(spec(proxy, "spec")).toEqual({ name: "web", memoryMiB: 1, nics: [] });
    expect([...reads.values()].every((count) => count === 1)).toBe(true);
  });

  it("can't be used to reach a prototype", () => {
    const polluted: unknown = JSON.parse('{"name": "web", "memoryMiB": 1, "__proto__": {"admin": true}}');
    expect(refusal(spec, polluted).field).toBe("spec.__proto__");
    const records = JSON.parse('{"__proto__": "x"}') as object;
    expect(refusal(check.record(check.string(), check.string()), records).field).toBe("spec.__proto__");
    expect(refusal(spec, { name: "web", memoryMiB: 1, constructor: 1 }).field).toBe("spec.constructor");
    expect(check.record(check.string(), check.string())({ constructor: "c", toString: "t" }, "m")).toEqual({
      constructor: "c",
      toString: "t",
    });
    expect(refusal(check.variants("type", { a: check.object({}) }), { type: "constructor" }).field).toBe("spec.type");
  });

  it("accepts an object without prototype and one of another realm", async () => {
    const { runInNewContext } = await import("node:vm");
    const bare = Object.assign(Object.create(null) as object, { name: "web", memoryMiB: 1 });
    expect(spec(bare, "spec").name).toBe("web");
    expect(spec(runInNewContext('({ name: "web", memoryMiB: 1, nics: [] })'), "spec").name).toBe("web");
  });

  it("never accepts what breaks a rule, whatever is thrown at it", () => {
    fc.assert(
      fc.property(
        fc.anything({
          withBigInt: true,
          withDate: true,
          withMap: true,
          withNullPrototype: true,
          withSparseArray: true,
        }),
        (value) => {
          try {
            const checked = spec(value, "spec");
            expect(checked.name).toMatch(/^[A-Za-z0-9]/);
          } catch (error) {
            expect(error).toBeInstanceOf(InvalidArgumentError);
          }
        },
      ),
    );
  });
});

describe("single values", () => {
  const good: readonly [string, Check<unknown>, unknown, unknown?][] = [
    ["string", check.string(), "grüße 🎉"],
    ["empty string", check.string({ min: 0 }), ""],
    ["text", check.string({ charset: "text" }), "a\tb\r\nc"],
    ["pattern", check.string({ pattern: /^v\d$/g }), "v1"],
    ["integer", check.integer({ min: 0, max: 5 }), 5],
    ["minus zero", check.integer(), -0, 0],
    ["number", check.number({ min: 0, max: 1 }), 0.5],
    ["boolean", check.boolean(), false],
    ["oneOf", check.oneOf(["a", 1, null]), null],
    ["uuid", check.uuid(), "C0FFEE00-1234-5678-9ABC-DEF012345678", "c0ffee00-1234-5678-9abc-def012345678"],
    ["mac", check.mac(), "52:54:00:AB:cd:ef", "52:54:00:ab:cd:ef"],
    ["multicast mac", check.mac({ multicast: true }), "01:00:5e:00:00:01"],
    ["IPv4", check.ipAddress({ version: 4 }), "10.0.0.1"],
    ["IPv6", check.ipAddress(), "FE80::1", "fe80::1"],
    ["CIDR", check.cidr(), "10.0.0.5/24"],
    ["IPv6 CIDR", check.cidr({ version: 6 }), "fd00::/128"],
    ["host name", check.hostname(), "Web-1.example.ORG", "web-1.example.org"],
    ["root", check.absolutePath(), "/"],
    ["path", check.absolutePath(), "/var/lib/..x/a b"],
    ["nullable", check.nullable(check.integer()), null],
    ["json", check.json(), { a: [1, null] }],
  ];
  it.each(good)("accepts %s", (_, run, value, expected) => {
    expect(run(value, "f")).toStrictEqual(expected === undefined ? value : expected);
  });

  const bad: readonly [string, Check<unknown>, unknown[]][] = [
    [
      "string",
      check.string({ max: 5 }),
      [5, null, undefined, "", "x".repeat(6), "a\0", "a\nb", "a\u007f", "a\u009b", "\ud800", "\u2028", new String("x")],
    ],
    ["string in bytes", check.string({ maxBytes: 4 }), ["üüü"]],
    ["text", check.string({ charset: "text" }), ["a\u0007", "\udc00"]],
    ["ascii", check.string({ charset: "ascii" }), ["ü", "\t"]],
    ["name", check.string({ charset: "name" }), ["../x", "a,b=c", "-x", ".x", "a b", "x".repeat(2000), "naïve", "a\n"]],
    ["pattern", check.string({ pattern: /^v\d$/g }), ["v11", "v1\n", "w"]],
    ["integer", check.integer({ min: 1, max: 5 }), [0, 6, 1.5, NaN, Infinity, "3", 3n, 2 ** 53, new Number(3), -0]],
    ["number", check.number(), [NaN, Infinity, "1", null]],
    ["boolean", check.boolean(), [0, "true", null]],
    ["oneOf", check.oneOf(["a", "b"]), ["c", "A", ["a"], undefined]],
    [
      "uuid",
      check.uuid(),
      [
        "c0ffee00123456789abcdef012345678",
        "c0ffee00-1234-5678-9abc-def01234567g",
        " c0ffee00-1234-5678-9abc-def012345678",
        "x".repeat(1e6),
      ],
    ],
    [
      "mac",
      check.mac(),
      [
        "01:00:5e:00:00:01",
        "00:00:00:00:00:00",
        "52-54-00-12-34-56",
        "525400123456",
        "52:54:00:12:34",
        "52:54:00:12:34:5g",
        "52:54:00:12:34:56\n",
      ],
    ],
    ["IPv4", check.ipAddress({ version: 4 }), ["::1", "10.0.0", "010.0.0.1", "10.0.0.256", "10.0.0.1 "]],
    ["IP", check.ipAddress(), ["fe80::1%eth0", "", "localhost"]],
    [
      "CIDR",
      check.cidr(),
      ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/024", "10.0.0.0/2/4", "fd00::/129", "fd00::/-1"],
    ],
    ["host name", check.hostname(), ["", "a..b", "-a", "a-", "a_b", "x".repeat(64), `${"a.".repeat(127)}a`, "ü"]],
    [
      "path",
      check.absolutePath(),
      ["", "a/b", "/a/../b", "/a/./b", "//a", "/a/", "/a\0", "/a\nb", `/${"x".repeat(4095)}`],
    ],
    ["json", check.json({ maxBytes: 10 }), [{ a: "xxxxxxxxxx" }, { a: NaN }, undefined, () => 1]],
  ];
  it.each(bad)("refuses what is no %s", (_, run, values) => {
    for (const value of values) expect(refusal(run, value, "f").field).toMatch(/^f/);
  });

  it("takes secrets, and shows them in no refusal", () => {
    const run = check.secret({ max: 4 });
    expect(run("abcd", "f").reveal()).toBe("abcd");
    expect(run(Secret.of("x"), "f").reveal()).toBe("x");
    for (const value of ["hunter2", "", 12345678, null, Secret.of("hunter2")]) {
      expect(refusal(run, value, "spec.key").message).toBe(
        "spec.key: expected a secret of 1 to 4 characters, got [redacted]",
      );
    }
  });
});

describe("choices and combinations", () => {
  interface Disk {
    readonly id: number;
    readonly backing?: Disk;
  }
  const disk: Check<Disk> = check.object({ id: check.integer(), backing: check.optional(check.lazy(() => disk)) });

  it("picks the variant that the tag names", () => {
    const source = check.variants("type", {
      file: check.object({ type: check.oneOf(["file"]), path: check.absolutePath() }),
      volume: check.object({ type: check.oneOf(["volume"]), id: check.uuid() }),
    });
    expect(source({ type: "file", path: "/a" }, "s")).toEqual({ type: "file", path: "/a" });
    expect(refusal(source, { type: "volume", path: "/a" }).field).toBe("spec.path");
    expect(refusal(source, { type: "tape" }).message).toBe('spec.type: expected one of "file", "volume", got "tape"');
    expect(refusal(source, []).field).toBe("spec");
  });

  it("follows a type that contains itself, but not for ever", () => {
    expect(disk({ id: 1, backing: { id: 2 } }, "disk")).toEqual({ id: 1, backing: { id: 2 } });
    const cycle: { id: number; backing?: unknown } = { id: 1 };
    cycle.backing = cycle;
    expect(refusal(disk, cycle, "disk").expected).toBe("less nesting");
  });

  it("refines, maps and guards", () => {
    const even = check.refine(check.integer(), (n) => n % 2 === 0, "an even number");
    expect(even(2, "f")).toBe(2);
    expect(refusal(even, 3).expected).toBe("an even number");
    expect(check.map(even, (n, path) => `${path}=${n}`)(4, "f")).toBe("f=4");
    const signal = check.guarded((v): v is AbortSignal => v instanceof AbortSignal, "an AbortSignal");
    const { signal: given } = new AbortController();
    expect(signal(given, "f")).toBe(given);
    expect(refusal(signal, {}).expected).toBe("an AbortSignal");
  });
});

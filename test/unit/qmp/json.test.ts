import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InvalidArgumentError, Secret } from "../../../src/core/index.js";
import { parseJsonExactly } from "../../../src/qmp/parse-json.js";
import { serializeJson } from "../../../src/qmp/serialize-json.js";

const write = (value: unknown): string => serializeJson(value, "arguments");

describe("parseJsonExactly", () => {
  it("reads what JSON.parse reads, alike", () => {
    fc.assert(
      fc.property(fc.json({ noUnicodeString: false, maxDepth: 4 }), (text) => {
        const expected: unknown = JSON.parse(text);
        expect(stripBig(parseJsonExactly(text))).toEqual(expected);
      }),
    );
  });

  it("keeps every 64-bit integer", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), (value) => {
        const read = parseJsonExactly(`{"a": [${value}]}`) as { a: [number | bigint] };
        expect(BigInt(read.a[0])).toBe(value);
        expect(typeof read.a[0]).toBe(Number.isSafeInteger(Number(value)) ? "number" : "bigint");
      }),
    );
  });

  it("reads the not-a-numbers that QEMU prints", () => {
    expect(parseJsonExactly('{"rate": nan, "most": inf, "least": -inf}')).toEqual({
      rate: NaN,
      most: Infinity,
      least: -Infinity,
    });
  });

  it("makes an own member of __proto__", () => {
    const value = parseJsonExactly('{"__proto__": {"polluted": true}}');
    expect(Object.keys(value as object)).toEqual(["__proto__"]);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  it.each([
    "",
    "{",
    "[1,]",
    '{"a" 1}',
    "{a:1}",
    '"\n"',
    "01",
    "1.",
    "+1",
    "1 2",
    '{"a":1}}',
    "nul",
    '"\\x"',
    '"abc',
    '"\\',
    "]",
  ])("refuses %j", (text) => {
    expect(() => parseJsonExactly(text)).toThrow(SyntaxError);
  });

  it("refuses nesting beyond QEMU's own limit, without overflowing the stack", () => {
    expect(() => parseJsonExactly("[".repeat(100_000))).toThrow(SyntaxError);
    expect(() => parseJsonExactly(`${"[".repeat(1024)}${"]".repeat(1024)}`)).not.toThrow();
  });
});

describe("serializeJson", () => {
  it("writes what parses to the same value", () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        fc.pre(isWellFormed(value));
        expect(JSON.parse(write(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it("writes big integers as digits, at any depth", () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
        fc.integer({ min: 0, max: 5 }),
        (big, depth) => {
          let value: unknown = big;
          for (let i = 0; i < depth; i++) value = i % 2 === 0 ? { a: value } : [value];
          expect(write(value)).toContain(String(big));
          expect(write(value)).not.toContain(`"${big}"`);
        },
      ),
    );
  });

  it("is not misled by an embedder's BigInt.prototype.toJSON", () => {
    const prototype = BigInt.prototype as { toJSON?: () => string };
    prototype.toJSON = () => "wrong";
    try {
      expect(write({ size: 2n ** 60n })).toBe('{"size":1152921504606846976}');
    } finally {
      delete prototype.toJSON;
    }
  });

  it("leaves out what is undefined and keeps null", () => {
    expect(write({ a: undefined, b: null, c: [1] })).toBe('{"b":null,"c":[1]}');
  });

  it("gives the text of a Secret, which JSON.stringify would hide", () => {
    expect(write({ password: Secret.of("hunter2") })).toBe('{"password":"hunter2"}');
  });

  it.each<[string, unknown, string]>([
    ["NaN", { a: NaN }, "arguments.a"],
    ["an infinity", { a: [Infinity] }, "arguments.a[0]"],
    ["a lone surrogate", { name: "x\ud800y" }, "arguments.name"],
    ["a lone surrogate in a name", { "\udfff": 1 }, "arguments"],
    ["a function", { a: 1n, f: () => 1 }, "arguments.f"],
    ["more than 64 bits", { a: 2n ** 64n }, "arguments.a"],
    ["nothing", undefined, "arguments"],
  ])("refuses %s by its path", (_, value, field) => {
    const error = thrown(() => write(value));
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect((error as InvalidArgumentError).field).toBe(field);
  });

  it("refuses cycles and nesting that QEMU would not take", () => {
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    expect(() => write(cycle)).toThrow(InvalidArgumentError);
    let deep: unknown = 1;
    for (let i = 0; i < 5000; i++) deep = [deep];
    expect(() => write(deep)).toThrow(InvalidArgumentError);
  });
});

/** JSON.parse rounds what parseJsonExactly keeps. */
function stripBig(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(stripBig);
  if (typeof value !== "object" || value === null) return value;
  const copy = {};
  for (const [key, member] of Object.entries(value)) {
    Object.defineProperty(copy, key, { value: stripBig(member), enumerable: true, configurable: true, writable: true });
  }
  return copy;
}

function isWellFormed(value: unknown): boolean {
  return !/\p{Surrogate}/u.test(
    JSON.stringify(value).replace(/\\u(d[89a-f][0-9a-f]{2})/gi, (_, hex: string) =>
      String.fromCharCode(parseInt(hex, 16)),
    ),
  );
}

function thrown(fn: () => unknown): unknown {
  try {
    fn();
  } catch (error) {
    return error;
  }
  return undefined;
}

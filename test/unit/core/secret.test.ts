import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { REDACTED, Secret, isSecretKey, redactText, redactToJson, redactValue } from "../../../src/core/index.js";

describe("Secret", () => {
  it("shows itself to nobody but who asks by name", () => {
    const secret = Secret.of("hunter2");
    const shown = [
      String(secret),
      `${secret}`,
      secret + "",
      JSON.stringify({ secret }),
      inspect(secret),
      inspect({ a: [secret] }),
    ];
    for (const text of shown) expect(text).not.toContain("hunter2");
    expect(JSON.stringify(structuredClone(secret))).not.toContain("hunter2");
    expect(Object.values(secret)).toEqual([]);
    expect(secret.reveal()).toBe("hunter2");
  });

  it("wraps once, compares by content, and is known across copies", () => {
    const secret = Secret.of("a");
    expect(Secret.of(secret)).toBe(secret);
    expect(secret.equals(Secret.of("a"))).toBe(true);
    expect(secret.equals("b")).toBe(false);
    expect(secret.equals("")).toBe(false);
    expect(Secret.of("").equals("")).toBe(true);
    expect(Secret.of("").equals("a")).toBe(false);
    expect(Secret.is(secret)).toBe(true);
    expect(Secret.is("a")).toBe(false);
    expect(Secret.is(null)).toBe(false);
  });
});

describe("redactText", () => {
  it("takes a secret out in each spelling", () => {
    const secret = 'a"b c/ü';
    const forms = [
      secret,
      'a\\"b c/ü',
      encodeURIComponent(secret),
      Buffer.from(secret).toString("base64"),
      Buffer.from(secret).toString("hex"),
    ];
    for (const form of forms) expect(redactText(`<${form}>`, [secret])).toBe(`<${REDACTED}>`);
  });

  it("takes the longer of two overlapping secrets whole", () => {
    expect(redactText("key=abcdef", ["abc", Secret.of("abcdef")])).toBe(`key=${REDACTED}`);
  });

  it("leaves a text alone without secrets, or with an empty one", () => {
    expect(redactText("text", undefined)).toBe("text");
    expect(redactText("text", [""])).toBe("text");
  });

  it("treats a secret as text, not as a pattern, and stands half surrogates", () => {
    expect(redactText("a.c abc $&", ["a.c", "$&"])).toBe(`${REDACTED} abc ${REDACTED}`);
    expect(redactText("x\ud800y", ["\ud800"])).toBe(`x${REDACTED}y`);
  });
});

describe("redactValue", () => {
  it("hides what stands under the name of a secret", () => {
    const value = {
      password: "p",
      passphrase: 1,
      adminPass: ["x"],
      token: { a: 1 },
      privateKey: "k",
      "private-key": "k",
      user_credentials: "c",
      passwordless: true,
      secret: null,
      name: "web",
    };
    expect(redactValue(value)).toEqual({
      password: REDACTED,
      passphrase: REDACTED,
      adminPass: REDACTED,
      token: REDACTED,
      privateKey: REDACTED,
      "private-key": REDACTED,
      user_credentials: REDACTED,
      passwordless: true,
      secret: null,
      name: "web",
    });
    expect(isSecretKey("memoryMiB")).toBe(false);
  });

  it("copies deep, and names what it does not follow", () => {
    const cycle: Record<string, unknown> = { list: [Secret.of("s"), 1n, "has hunter2"] };
    cycle["self"] = cycle;
    cycle["bytes"] = Buffer.from("abc");
    cycle["fn"] = () => 1;
    Object.defineProperty(cycle, "getter", { enumerable: true, get: () => expect.fail("called") });
    cycle["map"] = new Map([["password", "x"]]);
    cycle["set"] = new Set(["hunter2"]);
    expect(redactValue(cycle, ["hunter2"])).toEqual({
      list: [REDACTED, 1n, `has ${REDACTED}`],
      self: "[circular]",
      bytes: "[3 bytes]",
      fn: "[function]",
      getter: "[accessor]",
      map: new Map([["password", REDACTED]]),
      set: new Set([REDACTED]),
    });
  });

  it("shows the same object twice where it stands twice, and errors with their causes", () => {
    const shared = { a: 1 };
    expect(redactValue([shared, shared])).toEqual([{ a: 1 }, { a: 1 }]);
    const error = Object.assign(new Error("low hunter2", { cause: new Error("lower") }), { code: "EX" });
    expect(redactValue({ error }, ["hunter2"])).toEqual({
      error: { name: "Error", message: `low ${REDACTED}`, code: "EX", cause: { name: "Error", message: "lower" } },
    });
  });

  it("is bounded in depth and size, and never throws", () => {
    let deep: unknown = "end";
    for (let i = 0; i < 100_000; i++) deep = { deep };
    expect(JSON.stringify(redactValue(deep))).toContain("[truncated]");
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    expect(redactValue({ proxy })).toBe("[unreadable]");
    const polluted = JSON.parse('{"__proto__": {"admin": true}}') as object;
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
    expect(Object.getPrototypeOf(redactValue(polluted))).toBe(Object.prototype);
  });

  it("becomes JSON that can be written", () => {
    const value = {
      big: 1n,
      when: new Date(0),
      nan: NaN,
      map: new Map([["k", 1]]),
      set: new Set([1]),
      gone: undefined,
    };
    expect(redactToJson(value)).toEqual({
      big: "1",
      when: "1970-01-01T00:00:00.000Z",
      nan: "NaN",
      map: { k: 1 },
      set: [1],
    });
  });
});

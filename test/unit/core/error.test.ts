import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import {
  AbortedError,
  BusyError,
  ClosedError,
  ConflictError,
  DeadlineExceededError,
  HyperviseError,
  InvalidArgumentError,
  NotSupportedError,
  OverflowError,
  Secret,
  StateCorruptError,
  UndoFailedError,
  asError,
  isHyperviseError,
  nameErrorClass,
} from "../../../src/core/index.js";

const POISON = 'p0is"on\\pässwörd';

function everythingShownBy(error: HyperviseError): string {
  return [
    error.message,
    error.detail,
    String(error.stack),
    String(error),
    JSON.stringify(error),
    JSON.stringify(error.toOperatorJSON()),
    inspect(error, { depth: Infinity, showHidden: true }),
    inspect({ nested: [error] }, { depth: Infinity }),
    ...chainOf(error).map((e) => inspect(e, { depth: Infinity, showHidden: true, getters: true })),
  ].join("\n");
}

function chainOf(error: unknown): unknown[] {
  const chain: unknown[] = [];
  for (let e = error; e instanceof Error && chain.length < 50; e = e.cause) chain.push(e);
  return chain;
}

function expectNoTraceOf(secret: string, shown: string): void {
  const forms = [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
    Buffer.from(secret).toString("base64"),
  ];
  for (const form of [...forms, Buffer.from(secret).toString("hex")]) expect(shown).not.toContain(form);
}

describe("HyperviseError", () => {
  it("carries what programs decide by and what people read", () => {
    const cause = new Error("below");
    const error = new HyperviseError("it failed", {
      code: "X_FAILED",
      retryable: true,
      instance: { uuid: "u-1", name: "web" },
      device: "disk-1",
      remedy: "Try later.",
      detail: "exit status 3",
      cause,
    });
    expect(error).toMatchObject({
      code: "X_FAILED",
      retryable: true,
      device: "disk-1",
      remedy: "Try later.",
      detail: "exit status 3",
    });
    expect(error.instance).toEqual({ uuid: "u-1", name: "web" });
    expect(error.cause).toBe(cause);
    expect(error.undoErrors).toEqual([]);
    expect(error.name).toBe("HyperviseError");
    expect(String(error.stack)).toMatch(/^HyperviseError: it failed\n/);
  });

  it("shows a tenant neither detail nor cause nor stack", () => {
    const error = new HyperviseError("it failed", {
      code: "X",
      detail: "/etc/host-path",
      cause: new Error("qemu: /dev/mapper/vg"),
    });
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      name: "HyperviseError",
      code: "X",
      message: "it failed",
      retryable: false,
    });
  });

  it("shows an operator all of it, as JSON that can be written", () => {
    const cause = Object.assign(new Error("low", { cause: new Error("lower") }), {
      big: 10n,
      errno: -2,
      when: new Date(NaN),
    });
    const error = new HyperviseError("it failed", { code: "X", detail: "argv", cause });
    error.attachUndoErrors([new UndoFailedError("tap", { cause: new Error("EBUSY") })]);
    const shown = JSON.parse(JSON.stringify(error.toOperatorJSON())) as Record<string, unknown>;
    expect(shown).toMatchObject({
      code: "X",
      detail: "argv",
      cause: { message: "low", errno: -2, big: "10", cause: { message: "lower" } },
      undoErrors: [{ code: "UNDO_FAILED", step: "tap", cause: { message: "EBUSY" } }],
    });
    expect(shown["stack"]).toContain("error.test.ts");
  });

  it("prints its fields, causes and failed undos", () => {
    const error = new ConflictError("in use", { device: "vda", cause: new Error("low") });
    error.attachUndoErrors([new Error("left behind")]);
    const shown = inspect(error);
    for (const part of ["ConflictError: in use", "CONFLICT", "vda", "low", "left behind"])
      expect(shown).toContain(part);
    expect(inspect({ a: { b: { c: error } } }, { depth: 1 })).not.toContain("in use");
  });

  it("fills in context that is not known yet, and keeps what is", () => {
    const error = new BusyError("busy", { device: "vda" }).withContext({ instance: { uuid: "u" }, device: "vdb" });
    expect(error.instance).toEqual({ uuid: "u" });
    expect(error.device).toBe("vda");
    expect(error.withContext({ instance: { uuid: "other" } }).instance).toEqual({ uuid: "u" });
    expect(Object.keys(new BusyError("busy"))).toEqual(["code", "retryable"]);
  });

  it("keeps its message on one line and its size bounded", () => {
    const error = new HyperviseError(`a\nb\u0000c\u001b[31m\u2028d\u0085`, {
      code: "X",
      detail: "x".repeat(1_000_000),
    });
    expect(error.message).toBe("a\\nb\\u0000c\\u001b[31m\\u2028d\\u0085");
    expect(new HyperviseError("y".repeat(100_000), { code: "X" }).message.length).toBe(4096);
    expect(error.detail?.length).toBe(65_536);
  });

  it("is known to copies of this package that have other classes", () => {
    const foreign = Object.assign(Object.create({ [Symbol.for("hypervise.error")]: true }) as object, { code: "BUSY" });
    expect(isHyperviseError(foreign)).toBe(true);
    expect(isHyperviseError(foreign, "BUSY")).toBe(true);
    expect(isHyperviseError(foreign, "CLOSED")).toBe(false);
    expect(isHyperviseError(new Error("x"))).toBe(false);
    for (const value of [undefined, null, 1, "x", {}]) expect(isHyperviseError(value)).toBe(false);
  });

  it("makes an error of anything thrown", () => {
    const error = new Error("x");
    expect(asError(error)).toBe(error);
    expect(asError("text")).toMatchObject({ code: "INTERNAL", cause: "text" });
    expect(asError(undefined)).toBeInstanceOf(HyperviseError);
  });
});

describe("the common errors", () => {
  const cases: readonly [HyperviseError, string, string, boolean][] = [
    [
      new InvalidArgumentError({ field: "spec.x", value: 1, expected: "text" }),
      "InvalidArgumentError",
      "INVALID_ARGUMENT",
      false,
    ],
    [
      new DeadlineExceededError({ operation: "starting", timeoutMs: 5 }),
      "DeadlineExceededError",
      "DEADLINE_EXCEEDED",
      true,
    ],
    [new AbortedError({ operation: "starting" }), "AbortedError", "ABORTED", false],
    [new NotSupportedError({ capability: "rescue" }), "NotSupportedError", "NOT_SUPPORTED", false],
    [new ConflictError("x"), "ConflictError", "CONFLICT", false],
    [new BusyError("x"), "BusyError", "BUSY", true],
    [new ClosedError("x"), "ClosedError", "CLOSED", false],
    [new OverflowError("x"), "OverflowError", "OVERFLOW", false],
    [new StateCorruptError("x"), "StateCorruptError", "STATE_CORRUPT", false],
    [new UndoFailedError("tap"), "UndoFailedError", "UNDO_FAILED", false],
  ];

  it.each(cases)("%s has name %s, code %s, retryable %s", (error, name, code, retryable) => {
    expect(error).toMatchObject({ name, code, retryable });
    expect(error).toBeInstanceOf(HyperviseError);
    expect(String(error.stack).startsWith(`${name}: `)).toBe(true);
  });

  it("tell tenants the fields that help them", () => {
    expect(JSON.parse(JSON.stringify(cases[0]?.[0]))).toMatchObject({ field: "spec.x", expected: "text", value: "1" });
    expect(JSON.parse(JSON.stringify(cases[1]?.[0]))).toMatchObject({ operation: "starting", timeoutMs: 5 });
    expect(JSON.parse(JSON.stringify(cases[3]?.[0]))).toMatchObject({ capability: "rescue" });
  });

  it("render a bad value short and without running its code", () => {
    const render = (value: unknown): string => new InvalidArgumentError({ field: "f", value, expected: "x" }).value;
    const evil = {
      toString: () => expect.fail("called"),
      get x() {
        return expect.fail("called");
      },
    };
    expect(render(evil)).toBe("an object");
    expect(render("x".repeat(10_000))).toBe(`"${"x".repeat(80)}…" (10000 characters)`);
    expect(render([1, 2, 3])).toBe("a list of 3");
    expect(render(Secret.of("s"))).toBe("[redacted]");
    expect(render("a\nb")).toBe('"a\\nb"');
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    const odd = [undefined, null, -0, NaN, 10n, Symbol("s"), () => 1, proxy];
    expect(odd.map(render)).toEqual(["nothing", "null", "-0", "NaN", "10n", "a symbol", "a function", "an object"]);
  });

  it("never render the value of a field that is named like a secret", () => {
    const error = new InvalidArgumentError({ field: "spec.console.password", value: POISON, expected: "8 characters" });
    expectNoTraceOf(POISON, everythingShownBy(error));
  });
});

describe("a secret in an error", () => {
  class PlatformError extends Error {
    readonly #kept = 1;
    constructor(
      message: string,
      readonly code: number,
      readonly argv: readonly string[],
    ) {
      super(message);
    }
    kept(): number {
      return this.#kept;
    }
  }
  nameErrorClass(PlatformError, "PlatformError");

  it("appears nowhere: message, detail, stack, JSON, printout, causes, undo errors", () => {
    const deep = new Error(`deep ${POISON}`);
    const platform = new PlatformError(`refused ${POISON}`, 38, ["qemu", `password=${POISON}`]);
    platform.cause = new AggregateError(
      [deep, new Error(JSON.stringify({ p: POISON }))],
      `many ${encodeURIComponent(POISON)}`,
      { cause: deep },
    );
    const error = new HyperviseError(`failed with ${POISON}`, {
      code: "X",
      detail: `-object secret,data=${Buffer.from(POISON).toString("base64")}`,
      remedy: `use ${POISON}`,
      device: POISON,
      cause: platform,
      secrets: [Secret.of(POISON)],
    });
    error.withContext({ instance: { uuid: "u", name: `vm-${POISON}` } });
    error.attachUndoErrors([new Error(`undo ${POISON}`)]);
    const shown = everythingShownBy(error);
    expectNoTraceOf(POISON, shown);
    expect(shown).toContain("[redacted]");
    expect(error.cause).toBeInstanceOf(PlatformError);
    expect(error.cause).toMatchObject({
      code: 38,
      message: "refused [redacted]",
      argv: ["qemu", "password=[redacted]"],
    });
    expect((error.cause as Error).cause).toBeInstanceOf(AggregateError);
    expect(platform.message).toContain(POISON);
  });

  it("appears nowhere when the cause is one of ours, with fields and undo errors", () => {
    const inner = new InvalidArgumentError({ field: "spec.x", value: POISON, expected: POISON });
    inner.attachUndoErrors([new Error(POISON)]);
    const error = new ConflictError("x", { cause: inner, secrets: [POISON] });
    expectNoTraceOf(POISON, everythingShownBy(error));
    expect(error.cause).toBeInstanceOf(InvalidArgumentError);
    expect(isHyperviseError(error.cause, "INVALID_ARGUMENT")).toBe(true);
  });

  it("is taken out of maps, sets, buffers, keys and objects of foreign classes", () => {
    class Socket {
      readonly auth = POISON;
    }
    const cause = Object.assign(new Error("x"), {
      map: new Map([[POISON, new Set([POISON])]]),
      bytes: Buffer.from(`..${POISON}..`),
      socket: new Socket(),
      [POISON]: 1,
      get lazy() {
        return POISON;
      },
    });
    const error = new HyperviseError("x", { code: "X", cause, secrets: [POISON] });
    expectNoTraceOf(POISON, everythingShownBy(error));
    expect(error.cause).toMatchObject({ socket: "[Socket]" });
  });

  it("leaves a clean cause as it is, identity and all", () => {
    const cause = new PlatformError("clean", 1, []);
    const error = new HyperviseError("x", { code: "X", cause, secrets: [POISON, ""] });
    expect(error.cause).toBe(cause);
    expect((error.cause as PlatformError).kept()).toBe(1);
  });

  it("is found in causes that form a cycle, or a chain too long to walk", () => {
    const a = new Error(`a ${POISON}`);
    a.cause = a;
    expectNoTraceOf(POISON, everythingShownBy(new HyperviseError("x", { code: "X", cause: a, secrets: [POISON] })));
    let chain = new Error(`end ${POISON}`);
    for (let i = 0; i < 5_000; i++) chain = new Error("link", { cause: chain });
    expectNoTraceOf(POISON, everythingShownBy(new HyperviseError("x", { code: "X", cause: chain, secrets: [POISON] })));
  });

  it("survives a cause that can't be read", () => {
    const hostile = new Proxy(new Error("x"), {
      ownKeys: () => {
        throw new Error(POISON);
      },
    });
    const error = new HyperviseError("x", { code: "X", cause: hostile, secrets: [POISON] });
    expectNoTraceOf(POISON, everythingShownBy(error));
  });

  it("is redacted from the fields of the common errors", () => {
    const invalid = new InvalidArgumentError({ field: "f", value: `a${POISON}`, expected: "x", secrets: [POISON] });
    const cut = new InvalidArgumentError({
      field: "f",
      value: `${"x".repeat(76)}${POISON}`,
      expected: "x",
      secrets: [POISON],
    });
    expect(cut.value).not.toContain(POISON.slice(0, 3));
    const late = new DeadlineExceededError({ operation: `sending ${POISON}`, timeoutMs: 1, secrets: [POISON] });
    expectNoTraceOf(POISON, everythingShownBy(invalid) + everythingShownBy(late));
  });

  it("tells of causes that go round in a circle, and comes to an end", () => {
    const error = new HyperviseError("first", { code: "X" });
    const other = new HyperviseError("second", { code: "Y", cause: error });
    Object.defineProperty(error, "cause", { value: other });
    expect(JSON.stringify(error.toOperatorJSON())).toContain("second");
  });
});

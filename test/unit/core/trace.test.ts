import { AsyncLocalStorage } from "node:async_hooks";
import diagnostics, { tracingChannel } from "node:diagnostics_channel";
import { afterEach, describe, expect, it } from "vitest";
import { traceMessage, traceOperation } from "../../../src/core/index.js";

const cleanups: (() => void)[] = [];
afterEach(() => cleanups.splice(0).forEach((cleanup) => cleanup()));

function record(name: string): [string, Record<string, unknown>][] {
  const seen: [string, Record<string, unknown>][] = [];
  const on = (what: string) => (message: unknown) => void seen.push([what, { ...(message as object) }]);
  const handlers = {
    start: on("start"),
    end: on("end"),
    asyncStart: on("asyncStart"),
    asyncEnd: on("asyncEnd"),
    error: on("error"),
  };
  tracingChannel(name).subscribe(handlers);
  cleanups.push(() => tracingChannel(name).unsubscribe(handlers));
  return seen;
}

describe("traceOperation", () => {
  it("costs nothing without subscribers: the context is not even made", async () => {
    const result = await traceOperation(
      "hypervise:test:quiet",
      () => expect.fail("made"),
      async () => 7,
    );
    expect(result).toBe(7);
  });

  it("publishes start, end and the asynchronous end, with a redacted context", async () => {
    const seen = record("hypervise:test:spawn");
    const result = await traceOperation(
      "hypervise:test:spawn",
      { name: "web", password: "hunter2", line: "x hunter3" },
      async () => 7,
      ["hunter3"],
    );
    expect(result).toBe(7);
    expect(seen.map(([what]) => what)).toEqual(["start", "end", "asyncStart", "asyncEnd"]);
    for (const [, message] of seen)
      expect(message).toEqual({ name: "web", password: "[redacted]", line: "x [redacted]" });
  });

  it("publishes the error, without its secrets, and throws the original", async () => {
    const seen = record("hypervise:test:fail");
    const error = new Error("bad hunter2");
    await expect(traceOperation("hypervise:test:fail", {}, () => Promise.reject(error), ["hunter2"])).rejects.toBe(
      error,
    );
    expect(seen.map(([what]) => what)).toEqual(["start", "end", "error", "asyncStart", "asyncEnd"]);
    expect((seen[2]?.[1]["error"] as Error).message).toBe("bad [redacted]");
  });

  it("runs inside the stores that a tracer binds to its start", async () => {
    const spans = new AsyncLocalStorage<string>();
    const start = diagnostics.channel("tracing:hypervise:test:span:start");
    start.bindStore(spans, () => "span-1");
    cleanups.push(() => void start.unbindStore(spans));
    const seen = await traceOperation("hypervise:test:span", {}, async () => {
      await Promise.resolve();
      return spans.getStore();
    });
    expect(seen).toBe("span-1");
  });
});

describe("traceMessage", () => {
  it("publishes a redacted message when somebody listens", () => {
    const seen: unknown[] = [];
    const listener = (message: unknown): void => void seen.push(message);
    traceMessage("hypervise:test:message", () => expect.fail("made"));
    diagnostics.subscribe("hypervise:test:message", listener);
    cleanups.push(() => void diagnostics.unsubscribe("hypervise:test:message", listener));
    traceMessage("hypervise:test:message", () => ({ token: "t", n: 1 }));
    expect(seen).toEqual([{ token: "[redacted]", n: 1 }]);
  });
});

import { describe, expect, it } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import { LibvirtConnectError } from "../../../src/libvirt/rpc/errors.js";
import type { Procedure } from "../../../src/libvirt/rpc/procedure.js";
import { CallWindow } from "../../../src/libvirt/rpc/window.js";
import type { PendingCall } from "../../../src/libvirt/rpc/window.js";
import { rejection } from "./support/fake-peer.js";

const LOW: Procedure = { program: "remote", name: "slow", number: 1, kind: "call", priority: "low" };
const HIGH: Procedure = { ...LOW, name: "fast", number: 2, priority: "high" };
const PAYLOAD = Buffer.alloc(0);

function makeWindow(size = 5, maxQueued = 100_000) {
  const sent: PendingCall[] = [];
  const clock = new VirtualClock();
  const window = new CallWindow({ clock, size, maxQueued, transmit: (call) => sent.push({ ...call }) });
  window.open();
  const names = (): string[] => sent.map((call) => call.procedure.name);
  const answer = (index: number): unknown => window.reply((sent[index] as PendingCall).serial, { value: index });
  return { window, sent, clock, names, answer };
}

describe("the window of calls", () => {
  it("lets no more out than the daemon takes, and the next when one is answered, in any order", async () => {
    const { window, sent, answer } = makeWindow();
    const calls = Array.from({ length: 8 }, () => window.add(HIGH, PAYLOAD, { deadlineMs: 1000 }));
    expect([sent.length, window.queued, window.full]).toEqual([5, 3, true]);
    answer(3);
    answer(0);
    expect([sent.length, window.queued]).toEqual([7, 1]);
    for (const index of [1, 2, 4, 5, 6, 7]) answer(index);
    expect(await Promise.all(calls)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(new Set(sent.map((call) => call.serial)).size).toBe(8);
  });

  it("keeps a place for calls of high priority, which pass when slow ones fill the rest, and starves neither", () => {
    const { window, names, answer } = makeWindow(3);
    for (let i = 0; i < 5; i++) void window.add(LOW, PAYLOAD, { deadlineMs: 1000 });
    expect(names()).toEqual(["slow", "slow"]);
    expect(window.full).toBe(false);
    void window.add(HIGH, PAYLOAD, { deadlineMs: 1000 });
    void window.add(HIGH, PAYLOAD, { deadlineMs: 1000 });
    expect(names()).toEqual(["slow", "slow", "fast"]);
    answer(0);
    // The slow one that waits is older than the fast one.
    expect(names()).toEqual(["slow", "slow", "fast", "slow"]);
    answer(2);
    expect(names()).toEqual(["slow", "slow", "fast", "slow", "fast"]);
  });

  it("lets slow calls out one at a time where the window is one", () => {
    const { window, names, answer } = makeWindow(1);
    void window.add(LOW, PAYLOAD, { deadlineMs: 1000 });
    void window.add(LOW, PAYLOAD, { deadlineMs: 1000 });
    answer(0);
    expect(names()).toEqual(["slow", "slow"]);
  });

  it("removes a waiting call at its deadline or abort, and keeps the place of one that has left until it is answered", async () => {
    const { window, sent, clock, answer } = makeWindow(2);
    const abort = new AbortController();
    const left = rejection(window.add(HIGH, PAYLOAD, { deadlineMs: 50 }));
    const aborted = rejection(window.add(HIGH, PAYLOAD, { deadlineMs: 1000, signal: abort.signal }));
    const waiting = rejection(window.add(HIGH, PAYLOAD, { deadlineMs: 50 }));
    const patient = window.add(HIGH, PAYLOAD, { deadlineMs: 1000 });
    abort.abort();
    await clock.tick(50);
    expect(await left).toMatchObject({ code: "DEADLINE_EXCEEDED", operation: "fast" });
    expect(await waiting).toMatchObject({ operation: "fast (never sent)" });
    expect(await aborted).toMatchObject({ code: "ABORTED" });
    expect([sent.length, window.unanswered, window.queued]).toEqual([2, 2, 1]);
    expect(answer(0)).toBe("left");
    expect(sent.length).toBe(3);
    answer(2);
    expect(await patient).toBe(2);
    answer(1);
    expect([window.unanswered, clock.pending]).toEqual([0, 0]);
  });

  it("lets out two calls about one thing at once, and one while it is silent, so that there is place for others", async () => {
    const { window, sent, names, clock, answer } = makeWindow();
    const about = (lane: string | undefined, deadlineMs = 1000) => window.add(LOW, PAYLOAD, { deadlineMs, lane });
    const given = Array.from({ length: 6 }, () => rejection(about("silent", 50)));
    expect([sent.length, window.queued]).toEqual([2, 4]);
    void about("other");
    void about(undefined);
    expect(sent.length).toBe(4);
    answer(2);
    answer(3);
    await clock.tick(50);
    expect((await Promise.all(given)).map((error) => "operation" in error && error.operation)).toEqual([
      "slow",
      "slow",
      ...Array.from({ length: 4 }, () => "slow (never sent)"),
    ]);
    const late = about("silent");
    answer(0);
    expect(sent.length).toBe(4);
    // Those of high priority are for ending it.
    void window.add(HIGH, PAYLOAD, { deadlineMs: 1000, lane: "silent" });
    expect(names().at(-1)).toBe("fast");
    answer(1);
    expect(sent.length).toBe(6);
    answer(5);
    answer(4);
    expect(await late).toBe(5);
    expect([window.queued, window.unanswered]).toEqual([0, 0]);
  });

  it("lets out the next about one thing when one is given up that was not sent, and all when the connection is another", async () => {
    const { window, sent } = makeWindow(2);
    const abort = new AbortController();
    const about = (signal?: AbortSignal) =>
      rejection(window.add(LOW, PAYLOAD, { deadlineMs: 1000, lane: "one", signal }));
    const first = about();
    const [second, third] = [about(abort.signal), about(abort.signal)];
    const fourth = about();
    expect(sent.length).toBe(1);
    abort.abort();
    expect([await second, await third]).toMatchObject([{ code: "ABORTED" }, { code: "ABORTED" }]);
    expect(window.queued).toBe(1);
    window.hold();
    window.failSent(() => new Error("gone"));
    expect(await first).toMatchObject({ message: "gone" });
    window.open();
    expect([sent.length, window.queued]).toEqual([2, 0]);
    const [fifth, sixth] = [about(), about()];
    window.failQueued(() => new Error("over"));
    window.failSent(() => new Error("gone"));
    expect(await Promise.all([fourth, fifth, sixth])).toMatchObject([
      { message: "gone" },
      { message: "over" },
      { message: "over" },
    ]);
    void about();
    expect(sent.length).toBe(3);
  });

  it("has calls go beside when for a second it is full and nothing in it is answered, or wait on where there is no way", async () => {
    const { window, sent, clock, answer } = makeWindow(3);
    const limits: number[] = [];
    const beside = ({ deadlineMs }: { readonly deadlineMs: number }): Promise<unknown> => {
      limits.push(deadlineMs);
      return limits.length === 1 ? Promise.reject(new LibvirtConnectError("no way")) : Promise.resolve("beside");
    };
    for (let i = 0; i < 2; i++) void window.add(LOW, PAYLOAD, { deadlineMs: 10_000, beside });
    const bound = window.add(LOW, PAYLOAD, { deadlineMs: 10_000 });
    const free = window.add(LOW, PAYLOAD, { deadlineMs: 10_000, beside });
    await clock.tick(900);
    answer(0);
    expect(sent.length).toBe(3);
    await clock.tick(900);
    expect(limits).toEqual([]);
    await clock.tick(100);
    expect([limits, window.queued]).toEqual([[8_100], 1]);
    await clock.tick(1_000);
    expect(await free).toBe("beside");
    expect([limits, window.queued, sent.length]).toEqual([[8_100, 7_100], 0, 3]);
    answer(2);
    expect(await bound).toBe(2);
    answer(1);
    expect([window.unanswered, clock.pending]).toEqual([0, 0]);
  });

  it("takes 10,000 waiting calls, and gives up any number of them at once", async () => {
    const { window, sent, answer } = makeWindow();
    const abort = new AbortController();
    const given = Array.from({ length: 10_000 }, (_, i) =>
      rejection(window.add(HIGH, PAYLOAD, { deadlineMs: 1000, ...(i % 3 === 0 ? {} : { signal: abort.signal }) })),
    );
    abort.abort();
    for (let i = 0; i < sent.length; i++) answer(i);
    const errors = await Promise.all(given);
    expect(errors.filter((error) => "code" in error)).toHaveLength(6666);
    expect([window.queued, window.unanswered]).toEqual([0, 0]);
  });

  it("refuses deadlines that are none, signals that have aborted, and more calls than may wait", async () => {
    const { window } = makeWindow(1, 1);
    for (const deadlineMs of [0, -1, NaN, Infinity])
      expect(await rejection(window.add(HIGH, PAYLOAD, { deadlineMs }))).toMatchObject({ field: "deadlineMs" });
    expect(await rejection(window.add(HIGH, PAYLOAD, { deadlineMs: 1, signal: AbortSignal.abort() }))).toMatchObject({
      code: "ABORTED",
    });
    void window.add(HIGH, PAYLOAD, { deadlineMs: 1000 });
    void window.add(HIGH, PAYLOAD, { deadlineMs: 1000 });
    expect(await rejection(window.add(HIGH, PAYLOAD, { deadlineMs: 1000 }))).toMatchObject({ code: "BUSY" });
  });

  it("fails what was sent when the connection is lost, and sends what waited over the next one", async () => {
    const { window, sent } = makeWindow(1);
    const lost = rejection(window.add(HIGH, PAYLOAD, { deadlineMs: 1000 }));
    const waiting = window.add(HIGH, PAYLOAD, { deadlineMs: 1000 });
    window.hold();
    window.failSent(() => new Error("gone"));
    expect(await lost).toMatchObject({ message: "gone" });
    expect(sent.length).toBe(1);
    window.open();
    expect(sent.length).toBe(2);
    window.reply((sent[1] as PendingCall).serial, { value: "over the next" });
    expect(await waiting).toBe("over the next");
  });
});

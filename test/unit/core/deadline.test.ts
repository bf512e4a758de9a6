import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import {
  AbortedError,
  BusyError,
  Deadline,
  DeadlineExceededError,
  systemClock,
  VirtualClock,
  onAbort,
  raceAbort,
  throwIfAborted,
  withDeadline,
} from "../../../src/core/index.js";

const never = new Promise<never>(() => undefined);

describe("Deadline", () => {
  it("aborts its signal with a typed error when time is over", async () => {
    const clock = new VirtualClock();
    const deadline = Deadline.after(100, { clock, operation: "starting the guest" });
    await clock.tick(60);
    expect([deadline.remainingMs, deadline.expired]).toEqual([40, false]);
    deadline.throwIfExpired();
    await clock.tick(50);
    expect([deadline.remainingMs, deadline.expired]).toEqual([0, true]);
    expect(deadline.signal.reason).toBeInstanceOf(DeadlineExceededError);
    expect(() => deadline.throwIfExpired()).toThrow("starting the guest took longer than 100 ms");
    await expect(deadline.race(never)).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED", timeoutMs: 100 });
  });

  it("aborts with the caller, and says why", async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const deadline = Deadline.after(100, { clock, operation: "x", signal: controller.signal });
    const raced = expect(deadline.race(never)).rejects.toMatchObject({ code: "ABORTED", cause: "because" });
    controller.abort("because");
    await raced;
    expect(deadline.signal.reason).toBeInstanceOf(AbortedError);
    expect(clock.pending).toBe(0);
  });

  it("passes on an error of ours that the caller aborted with", () => {
    const reason = new BusyError("host is going down");
    const deadline = Deadline.after(1, { operation: "x", signal: AbortSignal.abort(reason) });
    expect(deadline.signal.reason).toBe(reason);
    expect(() => deadline.throwIfExpired()).toThrow(reason);
  });

  it("nests: the outer one's end is the inner one's", async () => {
    const clock = new VirtualClock();
    const outer = Deadline.after(10, { clock, operation: "outer" });
    const inner = Deadline.after(1_000, { clock, operation: "inner", signal: outer.signal });
    await clock.tick(10);
    expect(() => inner.throwIfExpired()).toThrow("outer took longer");
    expect(clock.pending).toBe(0);
  });

  it("never aborts after it was disposed of", async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const deadline = Deadline.after(10, { clock, operation: "x", signal: controller.signal });
    deadline.dispose();
    deadline[Symbol.dispose]();
    await clock.tick(20);
    controller.abort();
    expect(deadline.signal.aborted).toBe(false);
  });

  it("refuses lengths that are none", () => {
    for (const ms of [-1, NaN, Infinity])
      expect(() => Deadline.after(ms, { operation: "x" })).toThrow(/deadline: expected/);
  });

  it("leaves neither timers nor listeners over 10,000 uses", async () => {
    const clock = new VirtualClock();
    const { signal } = new AbortController();
    for (let i = 0; i < 10_000; i++) {
      const value = await withDeadline(1_000, { clock, operation: "x", signal }, (deadline) =>
        deadline.race(Promise.resolve(i)),
      );
      expect(value).toBe(i);
    }
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
    expect(clock.pending).toBe(0);
  });

  it("puts one listener on the caller's signal however many wait on it", async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning);
    process.on("warning", onWarning);
    try {
      const clock = new VirtualClock();
      const controller = new AbortController();
      const waits = Array.from({ length: 100 }, () =>
        withDeadline(1_000, { clock, operation: "x", signal: controller.signal }, () => never).catch((e: unknown) => e),
      );
      expect(getEventListeners(controller.signal, "abort")).toHaveLength(1);
      controller.abort();
      expect((await Promise.all(waits)).every((e) => e instanceof AbortedError)).toBe(true);
      expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
      await clock.settle();
      expect(warnings).toEqual([]);
    } finally {
      process.off("warning", onWarning);
    }
  });

  it("withDeadline does not start work that is late already, and disposes when work throws", async () => {
    const clock = new VirtualClock();
    const aborted = withDeadline(5, { clock, operation: "x", signal: AbortSignal.abort() }, () =>
      expect.fail("started"),
    );
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    const failing = withDeadline(5, { clock, operation: "x" }, () => Promise.reject(new Error("own")));
    await expect(failing).rejects.toThrow("own");
    expect(clock.pending).toBe(0);
  });
});

describe("raceAbort and onAbort", () => {
  it("rejects at once on an aborted signal, and swallows the late rejection of the loser", async () => {
    const failing = Promise.reject(new Error("late"));
    await expect(raceAbort(failing, AbortSignal.abort("r"))).rejects.toMatchObject({ code: "ABORTED", cause: "r" });
    await expect(raceAbort(Promise.resolve(1), undefined)).resolves.toBe(1);
    expect(() => throwIfAborted(undefined)).not.toThrow();
  });

  it("calls back once, in order, and not who has left, even while aborting", () => {
    const controller = new AbortController();
    const seen: string[] = [];
    onAbort(controller.signal, () => {
      seen.push("a");
      leaveB();
    });
    const leaveB = onAbort(controller.signal, () => seen.push("b"));
    const leaveC = onAbort(controller.signal, () => seen.push("c"));
    leaveC();
    onAbort(controller.signal, () => seen.push("d"));
    controller.abort();
    onAbort(controller.signal, () => seen.push("e"));
    leaveB();
    expect(seen).toEqual(["a", "d", "e"]);
  });

  it("is over at once when it is given no time", () => {
    const deadline = Deadline.after(0, { operation: "waiting" });
    expect(deadline.expired).toBe(true);
    expect(deadline.signal.reason).toMatchObject({ code: "DEADLINE_EXCEEDED" });
  });

  it("is over when the clock says so, though its timer has not had its turn", () => {
    let now = 0;
    const clock = { ...systemClock, monotonic: () => now, setTimeout: () => ({ cancel: () => undefined }) };
    const deadline = Deadline.after(5, { operation: "waiting", clock });
    expect(deadline.expired).toBe(false);
    now = 5;
    expect(deadline.expired).toBe(true);
    expect(() => deadline.throwIfExpired()).toThrow(expect.objectContaining({ code: "DEADLINE_EXCEEDED" }));
  });
});

import { getEventListeners } from "node:events";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Deadline, KeyedLock, VirtualClock } from "../../../src/core/index.js";

function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

describe("KeyedLock", () => {
  it("lets one in at a time a key, in the order of asking, and different keys side by side", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom("a", "b", "c"), fc.nat(5)), { maxLength: 40 }),
        async (jobs) => {
          const clock = new VirtualClock({ autoAdvance: true });
          const lock = new KeyedLock({ clock });
          const inside = new Map<string, number>();
          const started: Record<string, number[]> = {};
          await Promise.all(
            jobs.map(([key, ms], i) =>
              lock.run(key, async () => {
                expect(inside.get(key) ?? 0).toBe(0);
                inside.set(key, 1);
                (started[key] ??= []).push(i);
                await clock.sleep(ms);
                inside.set(key, 0);
              }),
            ),
          );
          for (const order of Object.values(started)) expect(order).toEqual([...order].sort((x, y) => x - y));
          expect(lock.size).toBe(0);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("runs different keys in parallel", async () => {
    const lock = new KeyedLock();
    const [a, b] = [gate(), gate()];
    const first = lock.run("a", () => a.opened);
    await lock.run("b", async () => b.open());
    expect([lock.isLocked("a"), lock.isLocked("b")]).toEqual([true, false]);
    a.open();
    await first;
  });

  it("returns what the work returns, and frees the key when it throws, also synchronously", async () => {
    const lock = new KeyedLock();
    expect(await lock.run("k", async () => 42)).toBe(42);
    await expect(lock.run("k", () => Promise.reject(new Error("x")))).rejects.toThrow("x");
    await expect(
      lock.run("k", () => {
        throw new Error("sync");
      }),
    ).rejects.toThrow("sync");
    expect(lock.size).toBe(0);
  });

  it("forgets a waiter that aborts, without a trace and without losing the order", async () => {
    const lock = new KeyedLock();
    const { opened, open } = gate();
    const seen: number[] = [];
    const controller = new AbortController();
    const holder = lock.run("k", () => opened);
    const second = lock.run("k", async () => seen.push(2), { signal: controller.signal });
    const third = lock.run("k", async () => seen.push(3));
    expect(lock.waiting("k")).toBe(2);
    controller.abort();
    await expect(second).rejects.toMatchObject({ code: "ABORTED" });
    expect(lock.waiting("k")).toBe(1);
    open();
    await Promise.all([holder, third]);
    expect(seen).toEqual([3]);
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
    expect(lock.size).toBe(0);
  });

  it("does not enter under a signal or deadline that has ended, even when the key is free", async () => {
    const lock = new KeyedLock();
    await expect(lock.run("k", () => expect.fail("ran"), { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "ABORTED",
    });
    const clock = new VirtualClock();
    const deadline = Deadline.after(0, { clock, operation: "x" });
    await clock.tick(1);
    await expect(lock.run("k", () => expect.fail("ran"), { deadline })).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
    expect(lock.isLocked("k")).toBe(false);
  });

  it("gives up after a number of milliseconds, and leaves no timer behind", async () => {
    const clock = new VirtualClock();
    const lock = new KeyedLock({ clock });
    const { opened, open } = gate();
    const holder = lock.run("k", () => opened);
    const late = lock.run("k", () => expect.fail("ran"), { deadline: 50 }).catch((e: unknown) => e);
    const patient = lock.run("k", async () => "in time", { deadline: 500 });
    await clock.tick(50);
    expect(await late).toMatchObject({ code: "DEADLINE_EXCEEDED", timeoutMs: 50, retryable: true });
    open();
    expect(await patient).toBe("in time");
    await holder;
    expect(clock.pending).toBe(0);
  });

  it("waits under a deadline of the caller's", async () => {
    const clock = new VirtualClock();
    const lock = new KeyedLock({ clock });
    const { opened, open } = gate();
    const holder = lock.run("k", () => opened);
    const deadline = Deadline.after(10, { clock, operation: "attaching" });
    const late = lock
      .run("k", () => expect.fail("ran"), { deadline, signal: new AbortController().signal })
      .catch((e: unknown) => e);
    await clock.tick(10);
    expect(await late).toMatchObject({ code: "DEADLINE_EXCEEDED", operation: "attaching" });
    open();
    await holder;
  });

  it("takes 10,000 waiters of one key", async () => {
    const lock = new KeyedLock();
    let count = 0;
    await Promise.all(Array.from({ length: 10_000 }, () => lock.run("k", async () => void count++)));
    expect(count).toBe(10_000);
    expect(lock.size).toBe(0);
  });
});

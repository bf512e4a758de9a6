import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AbortedError, VirtualClock, systemClock } from "../../../src/core/index.js";
import { TimerHeap } from "../../../src/core/timer-heap.js";

describe("VirtualClock", () => {
  it("stands still until it is moved", async () => {
    const clock = new VirtualClock({ now: 1_000 });
    let fired = false;
    clock.setTimeout(() => (fired = true), 10);
    await clock.settle();
    expect([fired, clock.now(), clock.monotonic(), clock.pending]).toEqual([false, 1_000, 0, 1]);
    await clock.tick(9);
    expect(fired).toBe(false);
    await clock.tick(1);
    expect([fired, clock.now(), clock.monotonic(), clock.pending]).toEqual([true, 1_010, 10, 0]);
  });

  it("runs timers in the order of their times, equal ones as they were set, each at its own time", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(50), { maxLength: 40 }), async (delays) => {
        const clock = new VirtualClock();
        const seen: [number, number][] = [];
        delays.forEach((ms, i) => clock.setTimeout(() => seen.push([clock.monotonic(), i]), ms));
        await clock.tick(50);
        const expected = delays.map((ms, i): [number, number] => [ms, i]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
        expect(seen).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });

  it("runs timers that are set on the way, and lets promises settle in between", async () => {
    const clock = new VirtualClock();
    const seen: string[] = [];
    const worker = async (): Promise<void> => {
      for (let i = 0; i < 5; i++) {
        await clock.sleep(10);
        await Promise.resolve().then(() => Promise.resolve());
        await new Promise((resolve) => setImmediate(resolve));
        seen.push(`worker ${clock.monotonic()}`);
      }
    };
    void worker();
    clock.setTimeout(() => seen.push(`timer ${clock.monotonic()}`), 25);
    await clock.tick(40);
    expect(seen).toEqual(["worker 10", "worker 20", "timer 25", "worker 30", "worker 40"]);
  });

  it("cancels timers, also from within others", async () => {
    const clock = new VirtualClock();
    const seen: number[] = [];
    const second = clock.setTimeout(() => seen.push(2), 2);
    clock.setTimeout(() => second.cancel(), 1);
    const third = clock.setTimeout(() => seen.push(3), 3);
    await clock.tick(10);
    third.cancel();
    second.cancel();
    expect(seen).toEqual([3]);
    expect(clock.pending).toBe(0);
  });

  it("queues ticks behind each other", async () => {
    const clock = new VirtualClock();
    const seen: number[] = [];
    clock.setTimeout(() => void clock.tick(5).then(() => seen.push(clock.monotonic())), 1);
    await Promise.all([clock.tick(2), clock.tick(3)]);
    await clock.settle();
    expect(seen).toEqual([10]);
  });

  it("rejects a tick with what a timer throws, and goes on afterwards", async () => {
    const clock = new VirtualClock();
    const seen: number[] = [];
    clock.setTimeout(() => {
      throw new Error("bad timer");
    }, 1);
    clock.setTimeout(() => seen.push(clock.monotonic()), 2);
    await expect(clock.tick(5)).rejects.toThrow("bad timer");
    expect(clock.monotonic()).toBe(1);
    await clock.tick(1);
    expect(seen).toEqual([2]);
  });

  it("moves to a time of day, never back", async () => {
    const clock = new VirtualClock({ now: 100 });
    await clock.advanceTo(150);
    await clock.advanceTo(120);
    expect(clock.now()).toBe(150);
  });

  it("refuses to tick backwards or for ever", () => {
    const clock = new VirtualClock();
    for (const ms of [-1, NaN, Infinity]) expect(() => clock.tick(ms)).toThrow(/expected a finite number/);
  });

  it("sleeps until aborted, and leaves no timer then", async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const sleeping = clock.sleep(1_000, { signal: controller.signal });
    controller.abort(new Error("why"));
    await expect(sleeping).rejects.toBeInstanceOf(AbortedError);
    expect(clock.pending).toBe(0);
    await expect(clock.sleep(1, { signal: controller.signal })).rejects.toBeInstanceOf(AbortedError);
  });

  it("runs until a promise settles, and says when none is going to", async () => {
    const clock = new VirtualClock();
    const work = async (): Promise<string> => {
      for (let i = 0; i < 10; i++) await clock.sleep(1_000);
      return "done";
    };
    expect(await clock.runUntil(work())).toBe("done");
    expect(clock.monotonic()).toBe(10_000);
    await expect(clock.runUntil(clock.sleep(1).then(() => Promise.reject(new Error("failed"))))).rejects.toThrow(
      "failed",
    );
    await expect(clock.runUntil(new Promise(() => undefined))).rejects.toThrow(/0 timers are left/);
    await expect(clock.runUntil(clock.sleep(500), 100)).rejects.toThrow(/1 timers are left/);
  });

  it("advances by itself when asked to, but not for unreferenced timers", async () => {
    const clock = new VirtualClock({ autoAdvance: true });
    let beats = 0;
    const beat = (): void => {
      beats++;
      clock.setTimeout(beat, 1_000).unref?.();
    };
    clock.setTimeout(beat, 1_000).unref?.();
    await clock.settle();
    expect([beats, clock.monotonic()]).toEqual([0, 0]);
    await clock.sleep(3_500);
    expect([beats, clock.monotonic()]).toEqual([3, 3_500]);
    await clock.sleep(600);
    expect([beats, clock.monotonic()]).toEqual([4, 4_100]);
  });

  it("holds 100,000 timers", async () => {
    const clock = new VirtualClock();
    let fired = 0;
    let last = 0;
    const handles = Array.from({ length: 100_000 }, (_, i) =>
      clock.setTimeout(
        () => {
          expect(clock.monotonic()).toBeGreaterThanOrEqual(last);
          last = clock.monotonic();
          fired++;
        },
        (i * 7919) % 100_003,
      ),
    );
    handles.forEach((handle, i) => void (i % 10 === 0 ? undefined : handle.cancel()));
    expect(clock.pending).toBe(10_000);
    await clock.tick(100_003);
    expect(fired).toBe(10_000);
  });
});

describe("TimerHeap", () => {
  it("agrees with a sorted list under pushes, pops and removals", () => {
    const command = fc.oneof(
      fc.record({ type: fc.constant("push" as const), at: fc.nat(20) }),
      fc.record({ type: fc.constant("pop" as const), at: fc.constant(0) }),
      fc.record({ type: fc.constant("remove" as const), at: fc.nat(100) }),
    );
    fc.assert(
      fc.property(fc.array(command, { maxLength: 200 }), (commands) => {
        const heap = new TimerHeap<{ at: number; sequence: number; index: number }>();
        const model: { at: number; sequence: number; index: number }[] = [];
        commands.forEach(({ type, at }, sequence) => {
          model.sort((a, b) => a.at - b.at || a.sequence - b.sequence);
          expect(heap.peek()).toBe(model[0]);
          if (type === "push") {
            const item = { at, sequence, index: -1 };
            heap.push(item);
            model.push(item);
          } else if (type === "pop") {
            expect(heap.pop()).toBe(model.shift());
          } else if (model.length > 0) {
            const [item] = model.splice(at % model.length, 1);
            expect(item !== undefined && heap.remove(item)).toBe(true);
            expect(item !== undefined && heap.remove(item)).toBe(false);
          }
          expect(heap.size).toBe(model.length);
        });
      }),
    );
  });
});

describe("systemClock", () => {
  it("calls back, cancels, and sleeps until aborted", async () => {
    const fired = await new Promise<string>((resolve) => {
      systemClock.setTimeout(() => resolve("cancelled"), 1).cancel();
      systemClock.setTimeout(() => resolve("kept"), 5);
    });
    expect(fired).toBe("kept");
    const controller = new AbortController();
    const sleeping = systemClock.sleep(1e12, { signal: controller.signal });
    controller.abort();
    await expect(sleeping).rejects.toMatchObject({ code: "ABORTED" });
    expect(systemClock.now()).toBeGreaterThan(1.6e12);
    expect(systemClock.monotonic()).toBeLessThanOrEqual(systemClock.monotonic());
  });

  it("keeps timers longer than Node's longest", async () => {
    let fired = false;
    const timer = systemClock.setTimeout(() => (fired = true), 2 ** 40);
    timer.unref?.();
    await systemClock.sleep(20);
    timer.cancel();
    expect(fired).toBe(false);
  });
});

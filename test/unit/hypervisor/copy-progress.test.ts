import { describe, expect, it } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import { withCopyProgress } from "../../../src/hypervisor/index.js";

describe("the progress of work", () => {
  it("is told as often as it is asked for, and not after its end", async () => {
    const clock = new VirtualClock();
    const progressMs = 500;
    const told: unknown[] = [];
    let finish: () => void = () => undefined;
    const work = new Promise<string>((resolve) => (finish = () => resolve("done")));
    const ask = () => Promise.resolve({ doneBytes: told.length, totalBytes: 2 });
    const listener = (progress: unknown): void => {
      told.push(progress);
      throw new Error("the listener's own affair");
    };
    const result = withCopyProgress({ clock, timeouts: { progressMs } }, ask, listener, () => work);
    await clock.tick(progressMs);
    await clock.tick(progressMs);
    expect(told).toEqual([
      { doneBytes: 0, totalBytes: 2 },
      { doneBytes: 1, totalBytes: 2 },
    ]);
    finish();
    expect(await result).toBe("done");
    await clock.tick(10 * progressMs);
    expect(told).toHaveLength(2);
  });
});

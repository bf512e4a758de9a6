import { describe, expect, it } from "vitest";
import { LatestRun } from "../../../src/core/index.js";

/** Work whose runs end when the test says so. */
function stepwise(): { readonly run: LatestRun; readonly ends: ((error?: Error) => void)[] } {
  const ends: ((error?: Error) => void)[] = [];
  const run = new LatestRun(
    () =>
      new Promise<void>((resolve, reject) => {
        ends.push((error) => (error === undefined ? resolve() : reject(error)));
      }),
  );
  return { run, ends };
}

describe("work whose result is as of when it began", () => {
  it("runs once more for all who ask while it runs, and not for those who asked before", async () => {
    const { run, ends } = stepwise();
    const order: string[] = [];
    const first = run.run().then(() => order.push("first"));
    const later = [run.run(), run.run(), run.run()].map((one, index) => one.then(() => order.push(`later ${index}`)));
    expect(ends).toHaveLength(1);
    ends[0]?.();
    await first;
    expect(ends).toHaveLength(2);
    ends[1]?.();
    await Promise.all(later);
    expect(ends).toHaveLength(2);
    expect(order).toEqual(["first", "later 0", "later 1", "later 2"]);
    const anew = run.run();
    expect(ends).toHaveLength(3);
    ends[2]?.();
    await anew;
  });

  it("tells each of the run that was theirs, and goes on after one that failed", async () => {
    const { run, ends } = stepwise();
    const first = run.run();
    const second = run.run();
    ends[0]?.(new Error("the first"));
    await expect(first).rejects.toThrow("the first");
    ends[1]?.();
    await second;
    const third = run.run();
    ends[2]?.(new Error("the third"));
    await expect(third).rejects.toThrow("the third");
  });
});

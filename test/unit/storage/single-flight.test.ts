import { describe, expect, it } from "vitest";
import { raceAbort } from "../../../src/core/index.js";
import type { TransferOptions } from "../../../src/storage/images/image-store.js";
import { SingleFlight } from "../../../src/storage/single-flight.js";

function work(): {
  run: (options: TransferOptions) => Promise<string>;
  started: TransferOptions[];
  finish: (result: string) => void;
} {
  const started: TransferOptions[] = [];
  let finish: (result: string) => void = () => undefined;
  const run = (options: TransferOptions): Promise<string> => {
    started.push(options);
    return raceAbort(new Promise<string>((resolve) => (finish = resolve)), options.signal);
  };
  return { run, started, finish: (result) => finish(result) };
}

describe("work that several callers want", () => {
  it("is done once for callers that overlap, all of which see its progress", async () => {
    const flight = new SingleFlight<string>();
    const job = work();
    const seen: number[] = [];
    const onProgress = (progress: { bytesDone: number }): void => void seen.push(progress.bytesDone);
    const both = Promise.all([flight.run("a", { onProgress }, job.run), flight.run("a", { onProgress }, job.run)]);
    job.started[0]?.onProgress?.({ bytesDone: 7 });
    job.finish("done");
    expect(await both).toEqual(["done", "done"]);
    expect(job.started).toHaveLength(1);
    expect(seen).toEqual([7, 7]);
  });

  it("goes on while one caller still waits, and is aborted with the last", async () => {
    const flight = new SingleFlight<string>();
    const job = work();
    const [first, second] = [new AbortController(), new AbortController()];
    const one = flight.run("a", { signal: first.signal }, job.run);
    const two = flight.run("a", { signal: second.signal }, job.run);
    first.abort();
    await expect(one).rejects.toMatchObject({ code: "ABORTED" });
    expect(job.started[0]?.signal?.aborted).toBe(false);
    second.abort();
    await expect(two).rejects.toMatchObject({ code: "ABORTED" });
    expect(job.started[0]?.signal?.aborted).toBe(true);
  });

  it("starts anew for a caller that comes after the last has given up", async () => {
    const flight = new SingleFlight<string>();
    const job = work();
    const controller = new AbortController();
    const gone = flight.run("a", { signal: controller.signal }, job.run);
    controller.abort();
    await expect(gone).rejects.toMatchObject({ code: "ABORTED" });
    const later = flight.run("a", {}, job.run);
    job.finish("second");
    expect(await later).toBe("second");
    expect(job.started).toHaveLength(2);
  });

  it("fails for all, and is forgotten", async () => {
    const flight = new SingleFlight<string>();
    const failing = (): Promise<string> => Promise.reject(new Error("no"));
    const both = [flight.run("a", {}, failing), flight.run("a", {}, failing)];
    for (const result of both) await expect(result).rejects.toThrow("no");
    expect(await flight.run("a", {}, () => Promise.resolve("yes"))).toBe("yes");
  });
});

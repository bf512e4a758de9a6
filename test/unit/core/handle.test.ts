import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { OperationController, VirtualClock } from "../../../src/core/index.js";
import type { OperationProgress, ProgressEvent } from "../../../src/core/index.js";

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("OperationHandle", () => {
  it("tells phase and progress, and gives the result", async () => {
    const clock = new VirtualClock({ now: 10 });
    const operation = new OperationController<string>({ id: "op", kind: "snapshot", clock });
    const { handle } = operation;
    expect(handle).toMatchObject({
      id: "op",
      kind: "snapshot",
      state: "running",
      phase: "starting",
      progress: undefined,
      abortable: true,
    });
    operation.update({ phase: "copying", fraction: 0.25, bytesDone: 25, bytesTotal: 100 });
    expect(handle).toMatchObject({ phase: "copying", progress: 0.25, bytesDone: 25, bytesTotal: 100 });
    operation.update({ phase: "cleaning up" });
    expect(handle).toMatchObject({ phase: "cleaning up", progress: undefined, bytesDone: undefined });
    operation.update({ fraction: 7 });
    expect(handle.progress).toBe(1);
    operation.update({ fraction: NaN });
    expect(handle.progress).toBe(0);
    operation.succeed("image-1");
    operation.fail(new Error("too late"));
    operation.update({ phase: "too late" });
    expect(await handle.result).toBe("image-1");
    expect(handle).toMatchObject({ state: "completed", phase: "cleaning up", abortable: false });
  });

  it("gives each subscriber the present state, then every change, and ends with the operation", async () => {
    const clock = new VirtualClock({ now: 10 });
    const operation = new OperationController<void>({ id: "op", kind: "migrate", clock });
    operation.update({ phase: "memory", fraction: 0.1 });
    const late = operation.handle.events();
    await clock.tick(5);
    operation.update({ fraction: 0.5, details: { dirtyPages: 3 } });
    operation.passPointOfNoReturn();
    operation.succeed();
    const events: ProgressEvent[] = [];
    for await (const event of late) events.push(event);
    expect(events.map((e) => [e.at, e.phase, e.fraction, e.abortable, e.state])).toEqual([
      [10, "memory", 0.1, true, "running"],
      [15, "memory", 0.5, true, "running"],
      [15, "memory", 0.5, false, "running"],
      [15, "memory", 0.5, false, "completed"],
    ]);
    expect(events[1]?.details).toEqual({ dirtyPages: 3 });
    const after: ProgressEvent[] = [];
    for await (const event of operation.handle.events()) after.push(event);
    expect(after.map((e) => e.state)).toEqual(["completed"]);
  });

  it("tells a slow reader how many changes it missed", async () => {
    const operation = new OperationController<void>({ kind: "migrate" });
    const slow = operation.handle.events({ capacity: 2 });
    for (let i = 0; i < 10; i++) operation.update({ fraction: i / 10 });
    await slow.next();
    expect((await slow.next()).value).toMatchObject({ missed: 8, fraction: 0.9 });
    expect((await slow.next()).value).toMatchObject({ fraction: 0.8 });
  });

  it("aborts: the worker hears of it, undoes, and only then the caller's abort() is done", async () => {
    const seen: string[] = [];
    const handle = OperationController.run<void>({ kind: "copy" }, async (operation) => {
      await new Promise<void>((resolve) => operation.signal.addEventListener("abort", () => resolve()));
      await tick();
      seen.push("undone");
      operation.throwIfAborted();
    });
    await tick();
    await handle.abort("changed my mind");
    seen.push("aborted");
    expect(seen).toEqual(["undone", "aborted"]);
    await expect(handle.result).rejects.toMatchObject({ code: "ABORTED", cause: "changed my mind" });
    expect(handle).toMatchObject({ state: "aborted", abortable: false });
    await handle.abort();
  });

  it("refuses an abort after the point of no return, and after completion", async () => {
    const controller = new AbortController();
    const operation = new OperationController<number>({ kind: "migrate", signal: controller.signal });
    operation.passPointOfNoReturn();
    expect(operation.handle.abortable).toBe(false);
    await expect(operation.handle.abort()).rejects.toMatchObject({ code: "CONFLICT" });
    controller.abort();
    expect(operation.signal.aborted).toBe(false);
    operation.succeed(1);
    await expect(operation.handle.abort()).rejects.toMatchObject({ code: "CONFLICT" });
    expect(await operation.handle.result).toBe(1);
  });

  it("does not pass the point of no return when the abort was faster", async () => {
    const operation = new OperationController<void>({ kind: "migrate" });
    const aborted = operation.handle.abort();
    expect(() => operation.passPointOfNoReturn()).toThrow("migrate was aborted");
    operation.fail(new Error("stopped"));
    await aborted;
    expect(operation.state).toBe("aborted");
  });

  it("tells the caller whose abort came too late because the work completed anyway", async () => {
    const operation = new OperationController<number>({ kind: "migrate" });
    const aborted = expect(operation.handle.abort()).rejects.toMatchObject({ code: "CONFLICT" });
    operation.succeed(1);
    await aborted;
  });

  it("listens to the caller's signal until it has ended", async () => {
    const controller = new AbortController();
    const failing = OperationController.run({ kind: "a", signal: controller.signal }, () =>
      Promise.reject(new Error("own")),
    );
    await expect(failing.result).rejects.toThrow("own");
    expect(failing.state).toBe("failed");
    await failing.abort();
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
    controller.abort();
    const refused = OperationController.run({ kind: "b", signal: controller.signal }, () => expect.fail("started"));
    await expect(refused.result).rejects.toMatchObject({ code: "ABORTED" });
    expect(refused.state).toBe("aborted");
  });

  it("needs no one to await its failure, and survives a callback that throws", async () => {
    const seen: OperationProgress[] = [];
    const onProgress = (progress: OperationProgress): void => {
      seen.push(progress);
      throw new Error("callback");
    };
    const handle = OperationController.run({ kind: "a", onProgress }, async (operation) => {
      operation.update({ phase: "one" });
      throw new Error("unobserved");
    });
    for await (const event of handle.events()) void event;
    await tick();
    expect(seen.map((p) => p.phase)).toEqual(["one", "one"]);
    expect(handle.state).toBe("failed");
  });
});

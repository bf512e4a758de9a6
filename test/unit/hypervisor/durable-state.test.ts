import { describe, expect, it } from "vitest";
import { DurableState } from "../../../src/hypervisor/index.js";

describe("the state of a guest", () => {
  it("is known when it is written, one change after the other", async () => {
    const written: number[] = [];
    let release: () => void = () => undefined;
    const disk = new Promise<void>((resolve) => (release = resolve));
    const state = new DurableState(1, (next) => disk.then(() => void written.push(next)));
    const both = [state.update((n) => n + 1), state.update((n) => n * 10)];
    expect(state.current).toBe(1);
    release();
    await Promise.all(both);
    expect([state.current, written]).toEqual([20, [2, 20]]);
  });

  it("stays as it was when it can't be written, and can be changed again", async () => {
    let broken = true;
    const state = new DurableState("a", () => (broken ? Promise.reject(new Error("full")) : Promise.resolve()));
    await expect(state.update((text) => `${text}b`)).rejects.toThrow("full");
    expect(state.current).toBe("a");
    broken = false;
    await state.update((text) => `${text}c`);
    expect(state.current).toBe("ac");
  });

  it("is not written when nothing has changed", async () => {
    const state = new DurableState({ at: 1 }, () => Promise.reject(new Error("written")));
    await state.update((same) => same);
    await state.settled();
    state.adopt({ at: 2 });
    expect(state.current).toEqual({ at: 2 });
  });
});

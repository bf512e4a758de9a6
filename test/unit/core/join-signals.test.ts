import { describe, expect, it } from "vitest";
import { joinSignals } from "../../../src/core/index.js";

describe("joinSignals", () => {
  it("aborts with the first of its signals, for its reason", () => {
    const [one, two] = [new AbortController(), new AbortController()];
    const { signal } = joinSignals([one.signal, undefined, two.signal]);
    expect(signal.aborted).toBe(false);
    two.abort("two");
    one.abort("one");
    expect(signal.reason).toBe("two");
  });
  it("is aborted at once when one of them is", () => {
    expect(joinSignals([AbortSignal.abort("gone")]).signal.reason).toBe("gone");
  });
  it("does not abort any more when released", () => {
    const one = new AbortController();
    const { signal, release } = joinSignals([one.signal]);
    release();
    one.abort();
    expect(signal.aborted).toBe(false);
  });
});

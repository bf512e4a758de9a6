import { describe, expect, it } from "vitest";
import {
  ConflictError,
  HyperviseError,
  RollbackStack,
  UndoFailedError,
  withRollback,
} from "../../../src/core/index.js";

describe("RollbackStack", () => {
  it("undoes in reverse order, one after the other", async () => {
    const stack = new RollbackStack();
    const seen: string[] = [];
    for (const name of ["a", "b", "c"]) {
      stack.defer(name, async () => {
        seen.push(`${name} begins`);
        await new Promise((resolve) => setImmediate(resolve));
        seen.push(`${name} ends`);
      });
    }
    expect(await stack.unwind()).toEqual([]);
    expect(seen).toEqual(["c begins", "c ends", "b begins", "b ends", "a begins", "a ends"]);
  });

  it("runs every undo although some fail, and reports those", async () => {
    const stack = new RollbackStack();
    const seen: string[] = [];
    stack.defer("a", () => void seen.push("a"));
    stack.defer("b", () => Promise.reject(new Error("b failed")));
    stack.defer("c", () => {
      throw "not an error";
    });
    const failures = await stack.unwind();
    expect(failures.map((f) => f.name)).toEqual(["c", "b"]);
    expect(failures[1]?.error.message).toBe("b failed");
    expect(failures[0]?.error).toBeInstanceOf(HyperviseError);
    expect(seen).toEqual(["a"]);
  });

  it("runs each undo once, also when it is unwound twice at once or again", async () => {
    const stack = new RollbackStack();
    let count = 0;
    stack.defer("a", () => void count++);
    await Promise.all([stack.unwind(), stack.unwind()]);
    await stack.unwind();
    expect(count).toBe(1);
  });

  it("lets a second unwind() wait for the first", async () => {
    const stack = new RollbackStack();
    let undone = false;
    stack.defer("slow", async () => {
      await new Promise((resolve) => setImmediate(resolve));
      undone = true;
    });
    void stack.unwind();
    await stack.unwind();
    expect(undone).toBe(true);
  });

  it("takes in an undo that arrives while it unwinds", async () => {
    const stack = new RollbackStack();
    const seen: string[] = [];
    stack.defer("first", () => {
      stack.defer("late", () => void seen.push("late"));
      seen.push("first");
    });
    await stack.unwind();
    expect(seen).toEqual(["first", "late"]);
  });

  it("forgets everything when committed, and takes nothing afterwards", async () => {
    const stack = new RollbackStack();
    stack.defer("a", () => expect.fail("undone"));
    stack.commit();
    expect(await stack.unwind()).toEqual([]);
    expect(() => stack.defer("b", () => undefined)).toThrow(/registered after/);
  });
});

describe("withRollback", () => {
  it("keeps the effects of work that succeeds", async () => {
    const result = await withRollback(async (stack) => {
      stack.defer("a", () => expect.fail("undone"));
      return 7;
    });
    expect(result).toBe(7);
  });

  it("throws the work's own error, with the failed undos attached", async () => {
    const first = new ConflictError("taken");
    const failed = withRollback(async (stack) => {
      stack.defer("tap", () => Promise.reject(new Error("EBUSY")));
      throw first;
    });
    await expect(failed).rejects.toBe(first);
    expect(first.undoErrors).toHaveLength(1);
    expect(first.undoErrors[0]).toBeInstanceOf(UndoFailedError);
    expect(first.undoErrors[0]).toMatchObject({ step: "tap", cause: { message: "EBUSY" } });
  });

  it("wraps a foreign error only to attach something", async () => {
    const foreign = new TypeError("x");
    await expect(withRollback(() => Promise.reject(foreign))).rejects.toBe(foreign);
    const wrapped = withRollback(async (stack) => {
      stack.defer("tap", () => Promise.reject(new Error("EBUSY")));
      throw foreign;
    });
    await expect(wrapped).rejects.toMatchObject({ code: "INTERNAL", cause: foreign, undoErrors: [{ step: "tap" }] });
  });
});

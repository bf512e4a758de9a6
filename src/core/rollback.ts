/** Undos collected while an operation goes on, run backwards when it fails. */
import { ClosedError, UndoFailedError } from "./common-errors.js";
import { HyperviseError, asError, isHyperviseError } from "./error.js";

/** An undo that failed. */
export interface UndoFailure {
  /** The name it was registered under. */
  readonly name: string;
  readonly error: Error;
}

interface Undo {
  readonly name: string;
  readonly undo: () => Promise<void> | void;
}

/**
 * Register the undo of each effect before the next effect starts; `commit()` at the end, `unwind()` on failure. Undos run
 * in reverse order, each at most once, all of them even when some fail; they should be idempotent, since they also serve
 * for effects that failed half-way.
 */
export class RollbackStack {
  #undos: Undo[] = [];
  #committed = false;
  #unwinding: Promise<UndoFailure[]> | undefined;

  /** How many undos are registered and have not run. */
  get size(): number {
    return this.#undos.length;
  }

  /**
   * Registers an undo. While the stack unwinds it runs as part of that.
   * @throws ClosedError after `commit()`.
   */
  defer(name: string, undo: () => Promise<void> | void): void {
    if (this.#committed) throw new ClosedError(`undo of ${name} registered after the operation was committed`);
    this.#undos.push({ name, undo });
  }

  /** The operation stands: forgets all undos. */
  commit(): void {
    this.#committed = true;
    this.#undos = [];
  }

  /** Undoes everything, newest first; resolves with what failed. A call during another joins it. */
  unwind(): Promise<UndoFailure[]> {
    this.#unwinding ??= this.#run().finally(() => {
      this.#unwinding = undefined;
    });
    return this.#unwinding;
  }

  async #run(): Promise<UndoFailure[]> {
    const failures: UndoFailure[] = [];
    for (let next = this.#undos.pop(); next !== undefined; next = this.#undos.pop()) {
      try {
        await next.undo();
      } catch (error) {
        failures.push({ name: next.name, error: asError(error) });
      }
    }
    return failures;
  }
}

/**
 * Runs work with a rollback stack: commits when it succeeds; otherwise unwinds, attaches what failed while undoing, and
 * rethrows the work's error.
 */
export async function withRollback<T>(work: (stack: RollbackStack) => Promise<T>): Promise<T> {
  const stack = new RollbackStack();
  try {
    const result = await work(stack);
    stack.commit();
    return result;
  } catch (error) {
    throw attachUndoFailures(error, await stack.unwind());
  }
}

/**
 * Attaches failed undos to the error that made them necessary, and returns that error. What is not an error of this
 * package is wrapped, as the cause of one with code `INTERNAL`, if there is anything to attach.
 */
export function attachUndoFailures(error: unknown, failures: readonly UndoFailure[]): Error {
  if (failures.length === 0) return asError(error);
  const undoErrors = failures.map((failure) => new UndoFailedError(failure.name, { cause: failure.error }));
  const first = isHyperviseError(error)
    ? error
    : new HyperviseError("the operation failed, and so did undoing it", { code: "INTERNAL", cause: error });
  first.attachUndoErrors(undoErrors);
  return first;
}

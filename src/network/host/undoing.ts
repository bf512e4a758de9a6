/** Undoes a change that failed, and the note of it only when nothing of it is left. */
import { RollbackStack, attachUndoFailures } from "../../core/index.js";

/**
 * Runs work with a stack of undos. When it fails they run, and then `forget`, which takes away what was noted for a process
 * that takes over; where an undo fails too, the note stays and the next start goes by it.
 */
export async function undoing(
  work: (undo: RollbackStack) => Promise<void>,
  forget: () => Promise<void>,
): Promise<void> {
  const undo = new RollbackStack();
  try {
    await work(undo);
    undo.commit();
  } catch (error) {
    const failures = await undo.unwind();
    const last = new RollbackStack();
    if (failures.length === 0) last.defer("record", forget);
    throw attachUndoFailures(error, [...failures, ...(await last.unwind())]);
  }
}

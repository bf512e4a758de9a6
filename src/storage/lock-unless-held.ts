/** A lock between processes, or nothing when another has it. */
import { isHyperviseError } from "../core/index.js";
import { acquireFileLock } from "../host/index.js";
import type { FileLock } from "../host/index.js";

/** Undefined when a living process holds the lock. */
export async function lockUnlessHeld(directory: string, name: string): Promise<FileLock | undefined> {
  try {
    return await acquireFileLock(directory, { name });
  } catch (error) {
    if (isHyperviseError(error, "LOCKED")) return undefined;
    throw error;
  }
}

/** What is kept durably of a guest whose memory is on disk, or on its way there. */
import { check } from "../../core/index.js";
import type { Check } from "../../core/index.js";

/**
 * `saving`: its memory is being written; the guest is the one in QEMU. `saved`: the file is whole, and the guest is what stands in it, though QEMU may not have ended yet.
 * `copied`: its memory was written while it stood still, and it is still the one in QEMU, which says `postmigrate` of it.
 */
export interface SavedMemory {
  readonly phase: "saving" | "saved" | "copied";
  /** Whether its vCPUs ran before. */
  readonly wasRunning: boolean;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export const savedMemoryCheck: Check<SavedMemory> = check.object({
  phase: check.oneOf(["saving", "saved", "copied"]),
  wasRunning: check.boolean(),
  at: check.number({ min: 0 }),
});

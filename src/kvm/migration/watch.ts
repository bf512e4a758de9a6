/** Following what QEMU says of a migration: looked at whenever an event may have changed it, and now and then for figures that have no event. */
import { Deadline, isHyperviseError, joinSignals, throwIfAborted } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import type { Qapi } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";

/** Events after which a migration may stand otherwise than before. */
const TELLING = new Set([
  ...["MIGRATION", "MIGRATION_PASS", "UNPLUG_PRIMARY", "STOP", "RESUME", "BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED"],
  ...["BLOCK_JOB_CANCELLED", "BLOCK_JOB_ERROR", "JOB_STATUS_CHANGE"],
]);

/** Wakes one who waits; a call that comes while nobody waits is kept for the next wait. */
export class Nudge {
  #pending = false;
  #wake: AbortController | undefined;

  poke(): void {
    this.#pending = true;
    this.#wake?.abort();
  }

  /** Resolves after the next `poke`, or `limitMs`. @throws AbortedError */
  async wait(clock: Clock, limitMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#pending) {
      this.#wake = new AbortController();
      const joined = joinSignals([signal, this.#wake.signal]);
      try {
        await clock.sleep(limitMs, { signal: joined.signal });
      } catch (error) {
        throwIfAborted(signal);
        if (!this.#pending) throw error;
      } finally {
        joined.release();
        this.#wake = undefined;
      }
    }
    this.#pending = false;
    throwIfAborted(signal);
  }
}

export interface FollowOptions {
  readonly what: string;
  readonly limitMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Poked by whoever wants a look at once. */
  readonly nudge?: Nudge;
}

/**
 * Asks QEMU again and again, whenever an event may have changed the answer, until `look` gives something.
 * @throws GuestCrashedError when QEMU ends; AbortedError, DeadlineExceededError; what `look` throws
 */
export async function follow<A, T>(
  core: GuestCore,
  session: GuestSession,
  ask: (signal: AbortSignal) => Promise<A>,
  look: (answer: A, signal: AbortSignal) => Promise<T | undefined> | T | undefined,
  { what, limitMs, signal, nudge = new Nudge() }: FollowOptions,
): Promise<T> {
  const { clock, timeouts } = core.host;
  const unwatch = session.watch((event) => {
    if (event === undefined || TELLING.has(event.event)) nudge.poke();
  });
  const deadline = Deadline.after(limitMs, { operation: what, clock, signal });
  try {
    for (;;) {
      deadline.throwIfExpired();
      const answer = await patiently(() => ask(deadline.signal), deadline.signal);
      // Not raced against the deadline: what `look` has begun must have ended when this rejects.
      const found = answer === undefined ? undefined : await look(answer, deadline.signal);
      if (found !== undefined) return found;
      await nudge.wait(clock, timeouts.progressMs, deadline.signal);
    }
  } finally {
    deadline.dispose();
    unwatch();
  }
}

/** As {@link follow}, of QEMU's migration. */
export function followMigration<T>(
  core: GuestCore,
  session: GuestSession,
  look: (info: Qapi.MigrationInfo, signal: AbortSignal) => Promise<T | undefined> | T | undefined,
  options: FollowOptions,
): Promise<T> {
  return follow(core, session, (signal) => session.execute("query-migrate", {}, { signal }), look, options);
}

/** Undefined when QEMU is too busy to answer now. */
async function patiently<A>(ask: () => Promise<A>, signal: AbortSignal): Promise<A | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (signal.aborted || !isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
    return undefined;
  }
}

/** States in which nothing more comes of a migration. */
const FINAL: ReadonlySet<string> = new Set(["completed", "failed", "cancelled", "none"]);

/** How a migration ended; undefined while it goes on. */
export function finalStatus({ status = "none" }: Qapi.MigrationInfo): "completed" | "failed" | "cancelled" | undefined {
  if (!FINAL.has(status)) return undefined;
  if (status === "completed") return "completed";
  return status === "failed" ? "failed" : "cancelled";
}

/** Has QEMU give up a migration; resolves with how it ended, which may be otherwise. @throws DeadlineExceededError, GuestCrashedError */
export async function cancelMigration(
  core: GuestCore,
  session: GuestSession,
): Promise<"completed" | "failed" | "cancelled"> {
  const { cancelMs } = core.host.timeouts;
  await session.execute("migrate_cancel", {}, { deadlineMs: cancelMs });
  return followMigration(core, session, finalStatus, { what: "cancelling the migration", limitMs: cancelMs });
}

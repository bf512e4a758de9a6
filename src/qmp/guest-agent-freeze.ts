/** Frozen file systems, and the promise that they thaw again. */
import { ConflictError, Deadline, asError } from "../core/index.js";
import type { Clock, InstanceRef } from "../core/index.js";
import type { QmpWaitOptions } from "./client-options.js";
import { GuestAgentUnavailableError, GuestThawError, QmpStateError, isQmpCommandError } from "./errors.js";
import type { Int64 } from "./qmp-value.js";

/** What is needed of the client. */
export interface GuestFreezeCommands {
  freeze(options: QmpWaitOptions): Promise<Int64>;
  status(options: QmpWaitOptions): Promise<string>;
  thaw(options: QmpWaitOptions): Promise<Int64>;
}

export interface FreezePolicy {
  readonly clock: Clock;
  readonly freezeMs: number;
  readonly frozenMs: number;
  readonly thawMs: number;
  readonly pauseMs: number;
  readonly instance?: InstanceRef | undefined;
}

/**
 * Freezes, runs the work, thaws, whatever happens in between; also when freezing itself fails or is aborted, since the guest
 * may have frozen all the same.
 */
export async function withFrozenGuest<T>(
  commands: GuestFreezeCommands,
  policy: FreezePolicy,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  let outcome: { readonly value: T } | { readonly error: Error };
  try {
    await commands.freeze({ signal, deadlineMs: policy.freezeMs });
    outcome = { value: await whileFrozen(commands, policy, signal, work) };
  } catch (error) {
    if (cannotFreeze(error)) throw error;
    outcome = { error: asError(error) };
  }
  try {
    await thawGuest(commands, policy);
  } catch (thawError) {
    if ("value" in outcome) throw thawError;
    throw new GuestThawError("the file systems may still be frozen", {
      instance: policy.instance,
      cause: outcome.error,
      detail: asError(thawError).message,
    });
  }
  if ("error" in outcome) throw outcome.error;
  return outcome.value;
}

/** Nothing was frozen by an agent that has no such command, or that was never reached. */
function cannotFreeze(error: unknown): boolean {
  return (
    isQmpCommandError(error, "CommandNotFound") ||
    error instanceof GuestAgentUnavailableError ||
    error instanceof QmpStateError
  );
}

async function whileFrozen<T>(
  commands: GuestFreezeCommands,
  policy: FreezePolicy,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const operation = "the work on frozen file systems";
  const deadline = Deadline.after(policy.frozenMs, { operation, clock: policy.clock, signal });
  try {
    deadline.throwIfExpired();
    const value = await deadline.race(work(deadline.signal));
    // Some guests thaw by themselves after a while; what was copied then is not consistent.
    const status = await commands.status({ signal: deadline.signal });
    if (status !== "frozen")
      throw new ConflictError("the guest thawed its file systems before the work was done", {
        instance: policy.instance,
      });
    return value;
  } finally {
    deadline.dispose();
  }
}

/**
 * Thaws until the guest says that it is thawed; thawing twice does no harm.
 * @throws GuestThawError when time is over before that
 */
export async function thawGuest(
  commands: GuestFreezeCommands,
  policy: Omit<FreezePolicy, "freezeMs" | "frozenMs">,
): Promise<number> {
  const deadline = Deadline.after(policy.thawMs, { operation: "thawing the file systems", clock: policy.clock });
  const options = (): QmpWaitOptions => ({ signal: deadline.signal, deadlineMs: deadline.remainingMs + 1 });
  let last: unknown;
  try {
    while (!deadline.expired) {
      try {
        const thawed = Number(await commands.thaw(options()));
        if ((await commands.status(options())) === "thawed") return thawed;
      } catch (error) {
        last = error;
      }
      await policy.clock.sleep(policy.pauseMs, { signal: deadline.signal }).catch(() => undefined);
    }
  } finally {
    deadline.dispose();
  }
  throw new GuestThawError("the file systems may still be frozen", {
    instance: policy.instance,
    cause: last,
    remedy: "thaw them in the guest, or reset it",
  });
}

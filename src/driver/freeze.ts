/** Freezing a guest's file systems while a point in time is taken, and thawing them whatever happens. */
import { check, NotSupportedError } from "../core/index.js";
import type { Guest, GuestAgent } from "./guest.js";
import type { HostContext } from "./host-context.js";
import { limited } from "./guest-actions.js";
import type { Operation } from "./operation.js";

export const quiesceCheck = check.oneOf(["auto", "required", "never"]);
export type Quiesce = "auto" | "required" | "never";

/**
 * Runs work that fixes a point in time, the guest's file systems frozen until it says that the point is fixed, at most `freezeMs`. `auto` does without when the agent does not answer.
 * @returns whether they were frozen until the point in time. @throws AgentUnresponsiveError with `required`.
 */
export async function whileFrozen(
  operation: Operation,
  guest: Guest,
  quiesce: Quiesce,
  work: (onPointInTime: () => void) => Promise<unknown>,
): Promise<boolean> {
  const { host } = operation;
  const frozen = quiesce === "never" ? false : await freeze(operation, guest, quiesce === "required");
  const thawing: Promise<void>[] = [];
  let inTime = frozen;
  const thaw = (): void => {
    if (frozen && thawing.length === 0) thawing.push(thawGuest(host, guest));
  };
  const tooLong = host.clock.setTimeout(() => {
    inTime = false;
    thaw();
  }, host.timeouts.freezeMs);
  try {
    await work(() => {
      tooLong.cancel();
      thaw();
    });
  } finally {
    tooLong.cancel();
    thaw();
    await Promise.all(thawing);
  }
  return inTime;
}

/** True when frozen. Without `required` a guest whose agent does not answer is copied as it is. */
async function freeze(operation: Operation, guest: Guest, required: boolean): Promise<boolean> {
  const { host, signal } = operation;
  const { agent } = guest;
  if (agent === undefined) {
    if (required) throw new NotSupportedError({ capability: "quiesce" });
    return false;
  }
  operation.progress("quiesce");
  if (!required && !(await answers(host, agent, signal))) return false;
  const freezing = operation.effect("frozen", { uuid: guest.uuid }, () =>
    limited(host, host.timeouts.agentMs, "freezing the guest's file systems", signal, (limit) =>
      agent.freeze({ signal: limit }),
    ),
  );
  try {
    await freezing;
    return true;
  } catch (error) {
    if (required || signal.aborted) throw error;
    await thawGuest(host, guest);
    return false;
  }
}

async function answers(host: HostContext, agent: GuestAgent, signal: AbortSignal): Promise<boolean> {
  try {
    await limited(host, host.timeouts.agentMs, "asking the guest agent", signal, (limit) =>
      agent.ping({ signal: limit }),
    );
    return true;
  } catch (error) {
    if (signal.aborted) throw error;
    return false;
  }
}

function thawGuest(host: HostContext, guest: Guest): Promise<void> {
  return limited(host, host.timeouts.agentMs, "thawing the guest's file systems", undefined, async (signal) =>
    guest.agent?.thaw({ signal }),
  );
}

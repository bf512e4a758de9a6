/** What becomes of a guest on its source when a migration is over: it stays, or it has gone. */
import { Deadline, asError, traceMessage } from "../../../core/index.js";
import { GuestCrashedError, InvalidStateError } from "../../../driver/index.js";
import type { MigrationOutcome, PowerState } from "../../../driver/index.js";
import { DomainJobType, DomainPausedReason, LibvirtError, isLibvirtError } from "../../rpc/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { readPowerState } from "../lifecycle/reconcile.js";
import { isInMemory } from "../power.js";
import type { OutgoingRecord } from "../state/migration-record.js";
import { outgoingOf, withMigration } from "./guard.js";
import { followed, isMoving } from "./moving.js";
import { PostcopyLink } from "./postcopy-link.js";
import type { MigrationSteps } from "./steps.js";
import { hasArrived } from "./whereabouts.js";

/** Guests of which this process has not been able to say what has become, with the migration that it holds: libvirt waits to be told. */
export const unsettled = new WeakMap<GuestCore, MigrationSteps>();

/**
 * The guest stays: nothing is under way any more, and it runs, or stands still, as before.
 * @throws GuestCrashedError when it has ended; what libvirt refuses, HypervisorUnavailableError, DeadlineExceededError: then the record stands, and this may be called again
 */
export async function stay(core: GuestCore, record: OutgoingRecord): Promise<void> {
  const state = await asDriverErrors({ operation: "migrate", instance: core.instance }, async () => {
    const torn = record.postcopy === true && (await endTorn(core));
    await untilNoJob(core);
    return torn ? "crashed" : runAgain(core, record);
  });
  await core.update((before) => withMigration(before, undefined));
  core.see({ state, moving: false });
  if (isInMemory(state)) return;
  const crashed = state === "crashed";
  core.emit({ type: "lifecycle", transition: crashed ? "crashed" : "stopped", cause: crashed ? "crash" : "external" });
  throw new GuestCrashedError("the guest has ended while it was being migrated", { instance: core.instance });
}

/** One that has lost its destination after it went over by post-copy is lost; its job can't be ended otherwise. */
async function endTorn(core: GuestCore): Promise<boolean> {
  const { domain, host } = core;
  if ((await power(core)) !== "paused") return false;
  const { reason } = await domain.getState({ deadlineMs: host.timeouts.callMs });
  if (reason !== DomainPausedReason.postcopy && reason !== DomainPausedReason.postcopyFailed) return false;
  await domain.destroyFlags({ deadlineMs: host.timeouts.killMs });
  return true;
}

/** libvirt resumes a guest whose migration has failed by itself, unless somebody stopped it in the meantime. */
async function runAgain(core: GuestCore, { wasRunning }: OutgoingRecord): Promise<PowerState> {
  const { domain, host } = core;
  const state = await power(core);
  if (!wasRunning || state !== "paused") return state;
  await domain.resume({ deadlineMs: host.timeouts.callMs });
  return power(core);
}

async function power(core: GuestCore): Promise<PowerState> {
  return readPowerState(core).catch((error: unknown) => {
    if (isLibvirtError(error, "domainNotFound")) return "shutdown";
    throw error;
  });
}

/** Ends the job that libvirt may still be at. Of its end libvirt tells nothing when it has failed. */
async function untilNoJob({ domain, host }: GuestCore): Promise<void> {
  const { clock, timeouts } = host;
  // The daemon may be starting again.
  const limits = { deadlineMs: timeouts.cancelMs };
  const deadline = Deadline.after(timeouts.cancelMs, { operation: "ending a migration", clock });
  try {
    for (;;) {
      const type = await jobOf(domain, limits);
      if (type === DomainJobType.none || type === DomainJobType.completed) return;
      await domain.abortJob(limits).catch((error: unknown) => {
        if (!(error instanceof LibvirtError)) throw error;
      });
      deadline.throwIfExpired();
      await deadline.race(clock.sleep(timeouts.progressMs));
    }
  } finally {
    deadline.dispose();
  }
}

async function jobOf(domain: GuestCore["domain"], limits: { readonly deadlineMs: number }): Promise<number> {
  try {
    return (await domain.getJobStats(limits)).type;
  } catch (error) {
    // One that is not in memory has none.
    if (isLibvirtError(error, "domainNotFound") || isLibvirtError(error, "invalidState")) return DomainJobType.none;
    throw error;
  }
}

/** The guest is the destination's. What is left of it here is taken out of memory. */
export async function depart(core: GuestCore, record: OutgoingRecord): Promise<void> {
  const { domain, host } = core;
  await core
    .update((state) => withMigration(state, { ...record, phase: "departed" }))
    // What stands there keeps it from running here, too.
    .catch((error: unknown) => traceFailure(core, error));
  await domain.destroyFlags({ deadlineMs: host.timeouts.killMs }).catch((error: unknown) => {
    if (!isLibvirtError(error, "invalidState") && !isLibvirtError(error, "domainNotFound")) traceFailure(core, error);
  });
  core.see({ state: "shutdown", moving: false });
  core.emit({ type: "lifecycle", transition: "migrationCompleted", cause: "self" });
  core.emit({ type: "lifecycle", transition: "stopped", cause: "self", detail: "migrated" });
}

/**
 * Ends a migration that nobody in this process works on, or finds out how it has ended. Undefined when there is none.
 * @throws HypervisorUnavailableError, DeadlineExceededError when a daemon that has to be asked can't be: the guest stands still then
 */
export async function settleOutgoing(core: GuestCore): Promise<MigrationOutcome | undefined> {
  const record = outgoingOf(core);
  if (record === undefined) return undefined;
  const { phase, connectionUri } = record;
  if (phase === "departed") return "completed";
  core.see({ moving: true });
  if (phase === "outgoing") {
    await stay(core, record);
    return "aborted";
  }
  const arrived = await asDriverErrors({ operation: "migrationOutcome", instance: core.instance }, () =>
    hasArrived(core, connectionUri),
  );
  const held = unsettled.get(core);
  unsettled.delete(core);
  if (arrived) {
    if (record.postcopy === true) seeThrough(core, record);
    else await depart(core, record);
    return "completed";
  }
  await held?.cancel();
  await stay(core, record);
  return "failed";
}

/** What is here of a guest that runs on its destination stays until that has all of it, or never will; whoever waits for it waits there. */
function seeThrough(core: GuestCore, record: OutgoingRecord): void {
  if (followed.has(core)) return;
  followed.add(core);
  const stop = new AbortController();
  core.onRelease(() => stop.abort());
  const link = new PostcopyLink(core, record, { signal: stop.signal });
  const end = async (): Promise<void> => {
    await link.end();
    if (!core.released) await depart(core, record);
  };
  end()
    .catch((error: unknown) => traceFailure(core, error))
    .finally(() => followed.delete(core));
}

/**
 * Takes back a guest that has gone and has not run there. libvirt keeps nothing of one that it has let go: it counts as crashed. A migration that nobody works on is settled first.
 * @throws InvalidStateError while a migration is under way, and for a guest that has run on the destination
 */
export async function reclaim(core: GuestCore): Promise<void> {
  if (!isMoving(core) && outgoingOf(core)?.phase !== "departed") {
    const outcome = await settleOutgoing(core);
    if (outcome !== "completed") return;
  }
  const record = outgoingOf(core);
  if (record === undefined) return;
  if (record.phase !== "departed" || record.postcopy === true || isMoving(core))
    throw new InvalidStateError({
      operation: "reclaimMigration",
      state: record.postcopy === true ? "migratedByPostcopy" : "migrating",
      expected: ["migratedAway"],
      instance: core.instance,
    });
  await core.update((state) => withMigration(state, undefined));
  core.see({ state: "crashed", moving: false });
  core.emit({ type: "lifecycle", transition: "crashed", cause: "crash", detail: "lost in a migration" });
}

function traceFailure({ instance }: GuestCore, error: unknown): void {
  traceMessage("hypervise:libvirt:background-failure", () => ({ instance, error: asError(error).message }));
}

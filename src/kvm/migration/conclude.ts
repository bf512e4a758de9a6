/** What becomes of a guest on its source when a migration is over: it stays, or it has gone; and taking back one that has gone in vain. */
import { asError, isHyperviseError, traceMessage } from "../../core/index.js";
import { InvalidStateError } from "../../driver/index.js";
import type { MigrationOutcome } from "../../driver/index.js";
import type { GuestCore } from "../guest-core.js";
import { powerStateOf } from "../events.js";
import { waitUntilStopped } from "../lifecycle/stop.js";
import type { GuestSession } from "../session.js";
import type { OutgoingRecord } from "../state/migration-record.js";
import { withMigration } from "../state/state-changes.js";
import { removeMirrors } from "./mirror.js";
import { setCapabilities } from "./settings.js";
import { removeCredentials } from "./tls.js";
import { isMoving } from "./moving.js";
import { cancelMigration, finalStatus, followMigration } from "./watch.js";

/** The record of a guest that is leaving or has left. */
export function outgoingOf({ state }: Pick<GuestCore, "state">): OutgoingRecord | undefined {
  return state.migration?.role === "source" ? state.migration : undefined;
}

/** The guest stays: everything is as before the migration. @throws GuestCrashedError, QmpCommandError: then the rest is done at the next synchronisation */
export async function stay(core: GuestCore, session: GuestSession, record: OutgoingRecord): Promise<void> {
  await removeMirrors(core, session, record.copied);
  await runAgain(session, record);
  await core.update((state) => withMigration(state, undefined));
  await tidy(session);
  session.setMoving(false);
  session.observe((await session.execute("query-status")).status, true);
}

/** QEMU resumes a guest whose migration has failed by itself, unless somebody stopped it. */
async function runAgain(session: GuestSession, { wasRunning }: OutgoingRecord): Promise<void> {
  const { status } = await session.execute("query-status");
  if (!wasRunning || status === "running" || powerStateOf(status) === "crashed") return;
  await session.requesting("cont", () => session.execute("cont"));
}

/** What a migration has set and nobody needs any more. A failure does no harm. */
async function tidy(session: GuestSession): Promise<void> {
  try {
    await session.execute("migrate-set-parameters", { "tls-creds": "", "tls-hostname": "" });
    await setCapabilities(session, new Set());
    await removeCredentials(session);
  } catch (error) {
    traceMessage("hypervise:kvm:background-failure", () => ({ error: asError(error).message }));
  }
}

/** The guest has gone. Its QEMU is kept, standing still, in case that the destination loses it before it has run there. */
export async function depart(core: GuestCore, record: OutgoingRecord): Promise<void> {
  try {
    await core.update((state) => withMigration(state, { ...record, phase: "departed" }));
  } catch (error) {
    // What stands there keeps it from running here, too.
    traceMessage("hypervise:kvm:background-failure", () => ({
      instance: core.instance,
      error: asError(error).message,
    }));
  }
  core.emit({ type: "lifecycle", transition: "migrationCompleted", cause: "self" });
  core.emit({ type: "lifecycle", transition: "stopped", cause: "self", detail: "migrated" });
  core.wakeStopWaiters();
}

/**
 * Ends or follows a migration that nobody in this process works on, as far as it may: before the switch-over it is given up, afterwards waited for.
 * Undefined when there is none. @throws DeadlineExceededError when QEMU does not come to an end with it
 */
export async function settleOutgoing(core: GuestCore): Promise<MigrationOutcome | undefined> {
  const record = outgoingOf(core);
  if (record === undefined) return undefined;
  if (record.phase === "departed") return "completed";
  const { session } = core;
  if (session === undefined) return undefined;
  session.setMoving(true);
  try {
    if (session.process.over) return await afterCrash(core);
    return await (record.phase === "outgoing" ? giveUp(core, session, record) : seeThrough(core, session, record));
  } catch (error) {
    if (!isHyperviseError(error, "GUEST_CRASHED")) throw error;
    return await afterCrash(core);
  }
}

/** QEMU has ended, or is ending: what that means for the migration is known when it is on record. */
export async function afterCrash(core: GuestCore): Promise<"completed" | undefined> {
  await waitUntilStopped(core, { deadline: core.host.timeouts.exitMs });
  await core.update((state) => state);
  return outgoingOf(core)?.phase === "departed" ? "completed" : undefined;
}

async function giveUp(core: GuestCore, session: GuestSession, record: OutgoingRecord): Promise<MigrationOutcome> {
  await cancelMigration(core, session);
  await stay(core, session, record);
  return "aborted";
}

/** Only QEMU knows whether it was told to hand the guest over, and whether it has. */
async function seeThrough(core: GuestCore, session: GuestSession, record: OutgoingRecord): Promise<MigrationOutcome> {
  const { status } = await session.execute("query-migrate");
  const end =
    status === "pre-switchover" || status === "active" || status === "setup"
      ? await cancelMigration(core, session)
      : await followMigration(core, session, finalStatus, {
          what: "the end of a migration",
          limitMs: core.host.timeouts.migrationMs,
        });
  if (end !== "completed") {
    await stay(core, session, record);
    return end === "failed" ? "failed" : "aborted";
  }
  await depart(core, record);
  return "completed";
}

/**
 * Takes back a guest that has gone: it runs on here from where it was handed over. Only for when the destination is rid of it, and it has not run there: else there are two.
 * Success when it has not gone. A guest whose QEMU is not there any more counts as crashed.
 * @throws InvalidStateError while a migration is under way
 */
export async function reclaim(core: GuestCore): Promise<void> {
  const record = outgoingOf(core);
  if (record === undefined) return;
  if (record.phase !== "departed" || isMoving(core))
    throw new InvalidStateError({
      operation: "reclaimMigration",
      state: "migrating",
      expected: ["migratedAway"],
      instance: core.instance,
    });
  const { session } = core;
  if (session === undefined) {
    const end = { state: "crashed", at: core.host.clock.now(), detail: "lost in a migration" } as const;
    await core.update((state) => ({ ...withMigration(state, undefined), end }));
    core.emit({ type: "lifecycle", transition: "crashed", cause: "crash", detail: end.detail });
    return;
  }
  const back: OutgoingRecord = { ...record, phase: "outgoing" };
  await core.update((state) => withMigration(state, back));
  await stay(core, session, back);
  core.emit({
    type: "lifecycle",
    transition: record.wasRunning ? "started" : "paused",
    cause: "self",
    detail: "reclaimed",
  });
}

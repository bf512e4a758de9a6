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
import { PostcopyLink, isPostcopy } from "./postcopy-link.js";
import { parseToken } from "./token.js";
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
  const status = await session.stateAfterMigration();
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
      : await untilOver(core, session, record);
  if (end !== "completed") {
    await stay(core, session, record);
    return end === "failed" ? "failed" : "aborted";
  }
  await depart(core, outgoingOf(core) ?? record);
  return "completed";
}

/** A guest that has gone over by post-copy and lost its connection for good is the destination's all the same. */
async function untilOver(
  core: GuestCore,
  session: GuestSession,
  { token }: OutgoingRecord,
): Promise<"completed" | "failed" | "cancelled"> {
  const link =
    token === undefined ? undefined : new PostcopyLink(core, session, parseToken(token, core.definition.uuid));
  try {
    return await followMigration(
      core,
      session,
      async (info, signal) => {
        if (isPostcopy(info)) noteGoneOver(core);
        await link?.look(info, signal);
        return finalStatus(info);
      },
      { what: "the end of a migration", limitMs: core.host.timeouts.migrationMs },
    );
  } catch (error) {
    if (session.process.over || !isHyperviseError(error, "GUEST_CRASHED")) throw error;
    return "completed";
  } finally {
    await link?.close();
  }
}

/** The guest has begun to run on the destination without all of its memory: from now on it can't come back. Told once. */
export function noteGoneOver(core: GuestCore): void {
  const record = outgoingOf(core);
  if (record === undefined || record.postcopy === true || goneOver.has(core)) return;
  goneOver.add(core);
  core.emit({ type: "lifecycle", transition: "postcopyStarted", cause: "self" });
  void core
    .update((state) => {
      const { migration } = state;
      return migration?.role === "source" ? withMigration(state, { ...migration, postcopy: true }) : state;
    })
    .catch((error: unknown) =>
      traceMessage("hypervise:kvm:background-failure", () => ({
        instance: core.instance,
        error: asError(error).message,
      })),
    )
    .finally(() => goneOver.delete(core));
}

/** Guests of which that is being written down. */
const goneOver = new WeakSet<GuestCore>();

/**
 * Takes back a guest that has gone: it runs on here from where it was handed over. Only for when the destination is rid of it, and it has not run there: else there are two.
 * Success when it has not gone. A guest whose QEMU is not there any more counts as crashed.
 * @throws InvalidStateError while a migration is under way, and for a guest that has run on the destination
 */
export async function reclaim(core: GuestCore): Promise<void> {
  const record = outgoingOf(core);
  if (record === undefined) return;
  if (record.phase !== "departed" || record.postcopy === true || isMoving(core))
    throw new InvalidStateError({
      operation: "reclaimMigration",
      state: record.postcopy === true ? "migratedByPostcopy" : "migrating",
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

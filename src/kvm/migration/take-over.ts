/** The moment in which a guest that has come from another host begins to be this host's. */
import { asError, isHyperviseError, traceMessage } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { GuestCrashedError, InvalidStateError, MigrationError } from "../../driver/index.js";
import { QmpCommandError } from "../../qmp/index.js";
import type { Qapi } from "../../qmp/index.js";
import { removeFile } from "../../host/index.js";
import { forgetLostCheckpoints } from "../block/checkpoint-bitmaps.js";
import type { GuestCore } from "../guest-core.js";
import { waitUntilStopped } from "../lifecycle/stop.js";
import type { GuestSession } from "../session.js";
import type { GuestState } from "../state/guest-state.js";
import type { IncomingRecord } from "../state/migration-record.js";
import { withMigration } from "../state/state-changes.js";
import { claimAddress } from "./ports.js";
import { isPostcopy } from "./postcopy-link.js";
import { setCapabilities } from "./settings.js";
import { removeCredentials } from "./tls.js";
import { followMigration } from "./watch.js";

/** The record of a guest that is waited for, or has come and is being taken over. */
export function incomingOf({ state }: Pick<GuestCore, "state">): IncomingRecord | undefined {
  return state.migration?.role === "destination" ? state.migration : undefined;
}

/**
 * The guest has left the source: waits until it is here wholly, and lets it run. Success when that was done already.
 * @throws MigrationError when it has not come and will not, which proves that it has not run here; GuestCrashedError when it runs here and the rest of its memory will not come:
 * it is ended then; DeadlineExceededError, AbortedError
 */
export async function takeGuest(core: GuestCore, { signal, deadline }: CommonOptions): Promise<void> {
  const record = incomingOf(core);
  if (record === undefined) return;
  const { session } = core;
  if (session === undefined) throw lost(core);
  let lacking: boolean;
  try {
    lacking = await arrive(core, session, { signal, deadline });
  } catch (error) {
    throw isHyperviseError(error, "GUEST_CRASHED") && incomingOf(core)?.phase === "waiting" ? lost(core, error) : error;
  }
  if (lacking) throw await lostOnTheWay(core, session);
  await letRun(core, session);
  if (!record.paused) await session.until((view) => view.state === "running", "starting the vCPUs", { signal });
  else core.emit({ type: "lifecycle", transition: "paused", cause: "self", detail: "migrated" });
  await core.update((state) => withMigration(state, undefined));
  await tidy(session);
  // A guest that stands still has its disks only when it runs.
  if (!record.paused) await forgetLostCheckpoints(core, session);
}

/**
 * Waits until the guest is here wholly. True when it runs here and a part of its memory will not come any more: the source has nothing more to send, and without it the guest can't go on.
 * What was sent last may be held up where QEMU does not see that the link has broken.
 */
async function arrive(core: GuestCore, session: GuestSession, { signal, deadline }: CommonOptions): Promise<boolean> {
  const { arrivalMs, recoveryMs } = core.host.timeouts;
  const limits = [Math.min(deadline ?? arrivalMs, arrivalMs), Math.max(1, recoveryMs - arrivalMs)];
  let status: string | undefined;
  for (const limitMs of limits) {
    const look = (info: Qapi.MigrationInfo): true | undefined =>
      (status = info.status) === "completed" ? true : undefined;
    try {
      await followMigration(core, session, look, { what: "waiting for the guest to arrive", limitMs, signal });
      return false;
    } catch (error) {
      const lacks = isPostcopy({ status });
      if (!lacks || deadline !== undefined || !isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
      if (status === "postcopy-paused") return true;
    }
  }
  return true;
}

async function lostOnTheWay(core: GuestCore, session: GuestSession): Promise<GuestCrashedError> {
  const { killMs, exitMs } = core.host.timeouts;
  await session.process.kill(killMs);
  // Until that is on record, nobody knows what has become of it.
  await waitUntilStopped(core, { deadline: exitMs });
  const message = "the guest was lost in the middle of its migration: a part of its memory is missing";
  return new GuestCrashedError(message, { instance: core.instance });
}

function lost(core: GuestCore, cause?: unknown): MigrationError {
  const detail = core.state.end?.detail;
  return new MigrationError("the guest has not arrived", {
    instance: core.instance,
    retryable: false,
    cause,
    ...(detail === undefined ? {} : { detail }),
  });
}

/** From the first durable write on, the guest is this host's. May be repeated. */
async function letRun(core: GuestCore, session: GuestSession): Promise<void> {
  const record = incomingOf(core);
  if (record === undefined) return;
  await core.update((state) => {
    const { migration } = state;
    return migration?.role === "destination" ? withMigration(state, { ...migration, phase: "taken" }) : state;
  });
  await ignoringRefusal(() => session.execute("nbd-server-stop"));
  session.setMoving(false);
  // In a QEMU that has not got all of it, this has the guest run as soon as it can.
  if (!record.paused) await session.requesting("cont", () => session.execute("cont"));
}

async function tidy(session: GuestSession): Promise<void> {
  await ignoringRefusal(() => session.execute("announce-self", { initial: 50, max: 550, rounds: 5, step: 50 }));
  await ignoringRefusal(() => session.execute("migrate-set-parameters", { "tls-creds": "" }));
  await ignoringRefusal(() => setCapabilities(session, new Set()));
  await ignoringRefusal(() => removeCredentials(session));
}

/** For what may be done already, or does no harm when it is not. */
async function ignoringRefusal(act: () => Promise<unknown>): Promise<void> {
  await act().catch((error: unknown) => {
    if (!(error instanceof QmpCommandError)) throw error;
  });
}

/**
 * Once the source has gone over to post-copy it can't take the guest back, and the guest waits for nothing but to run. When the connection breaks after that, QEMU waits for
 * another one where it waited for the first.
 */
export function watchForPostcopy(core: GuestCore): void {
  const { session } = core;
  if (session === undefined) return;
  const arrival: Arrival = { core, session, waitsAgain: false };
  let doing = Promise.resolve();
  // One after the other, as QEMU told it.
  const next = (work: () => Promise<void>): void => {
    doing = doing.then(work).catch((error: unknown) =>
      traceMessage("hypervise:kvm:background-failure", () => ({
        instance: core.instance,
        error: asError(error).message,
      })),
    );
  };
  const record = incomingOf(core);
  for (const uri of [record?.uri, record?.nextUri]) claimAddress(core, uri);
  const unwatch = session.watch((event) => {
    if (incomingOf(core) === undefined || core.session !== session) return unwatch();
    if (event !== undefined && event.event !== "MIGRATION") return;
    next(() => (event === undefined ? look(arrival) : onStatus(arrival, event.data["status"])));
  });
  next(() => look(arrival));
}

/** Takes up a guest that an earlier process was letting run. */
export async function takeAgain(core: GuestCore, session: GuestSession): Promise<void> {
  if (incomingOf(core)?.phase !== "taken") return;
  watchForPostcopy(core);
  await letRun(core, session);
}

interface Arrival {
  readonly core: GuestCore;
  readonly session: GuestSession;
  /** QEMU waits for the source to come again, or is being told to. Told twice it would send away one that has come. */
  waitsAgain: boolean;
}

/** The source has come where it was waited for; next time it has to come to the other place. */
function withPlacesExchanged(state: GuestState): GuestState {
  const { migration } = state;
  if (migration?.role !== "destination" || migration.uri === undefined || migration.nextUri === undefined) return state;
  return withMigration(state, { ...migration, uri: migration.nextUri, nextUri: migration.uri });
}

async function look(arrival: Arrival): Promise<void> {
  const { status } = await arrival.session.execute("query-migrate");
  arrival.waitsAgain = false;
  await onStatus(arrival, status);
}

async function onStatus(arrival: Arrival, status: unknown): Promise<void> {
  const { core, session } = arrival;
  if (arrival.waitsAgain && (status === "postcopy-recover" || status === "postcopy-active")) {
    arrival.waitsAgain = false;
    await core.update(withPlacesExchanged);
  }
  // Whoever comes too early must not reach a QEMU that hears nobody there any more.
  if (status === "postcopy-active") await removeFile(core.files.incoming);
  if (status !== "postcopy-active" && status !== "postcopy-paused") return;
  // First, for a QEMU that lacks memory may do nothing else.
  if (status === "postcopy-paused") await waitAgain(arrival);
  if (incomingOf(core)?.phase === "waiting") await letRun(core, session);
}

/** Has QEMU wait for the source to come again. Somebody else may hold the port for a moment. */
async function waitAgain(arrival: Arrival): Promise<void> {
  if (arrival.waitsAgain) return;
  arrival.waitsAgain = true;
  const { core, session } = arrival;
  const { clock, timeouts } = core.host;
  const giveUpAt = clock.monotonic() + timeouts.recoveryMs;
  for (;;) {
    const { uri, nextUri = uri } = incomingOf(core) ?? {};
    if (uri === undefined || nextUri === undefined || core.session !== session) return;
    try {
      await session.execute("migrate-recover", { uri: nextUri }, { oob: true });
      return;
    } catch (error) {
      if (!(error instanceof QmpCommandError) || clock.monotonic() > giveUpAt) throw error;
    }
    // It may have come in the meantime.
    if ((await session.execute("query-migrate")).status !== "postcopy-paused") return;
    await clock.sleep(timeouts.progressMs);
  }
}

/** @throws InvalidStateError when the guest is this host's own, or may have run here */
export function requireNotTaken(core: GuestCore): void {
  if (incomingOf(core)?.phase === "waiting") return;
  throw new InvalidStateError({
    operation: "abortIncoming",
    state: core.powerState,
    expected: ["migratingIn"],
    instance: core.instance,
  });
}

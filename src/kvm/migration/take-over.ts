/** The moment in which a guest that has come from another host begins to be this host's. */
import { asError, isHyperviseError, traceMessage } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { InvalidStateError, MigrationError } from "../../driver/index.js";
import { QmpCommandError } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";
import type { IncomingRecord } from "../state/migration-record.js";
import { withMigration } from "../state/state-changes.js";
import { setCapabilities } from "./settings.js";
import { removeCredentials } from "./tls.js";
import { followMigration } from "./watch.js";

/** The record of a guest that is waited for, or has come and is being taken over. */
export function incomingOf({ state }: Pick<GuestCore, "state">): IncomingRecord | undefined {
  return state.migration?.role === "destination" ? state.migration : undefined;
}

/**
 * The guest has left the source: waits until it is here wholly, and lets it run. Success when that was done already.
 * @throws MigrationError when it has not come and will not, which proves that it has not run here; DeadlineExceededError, AbortedError
 */
export async function takeGuest(core: GuestCore, { signal, deadline }: CommonOptions): Promise<void> {
  const record = incomingOf(core);
  if (record === undefined) return;
  const { session } = core;
  if (session === undefined) throw lost(core);
  const { arrivalMs } = core.host.timeouts;
  try {
    await followMigration(core, session, ({ status }) => (status === "completed" ? true : undefined), {
      what: "waiting for the guest to arrive",
      limitMs: Math.min(deadline ?? arrivalMs, arrivalMs),
      signal,
    });
  } catch (error) {
    throw isHyperviseError(error, "GUEST_CRASHED") && incomingOf(core)?.phase === "waiting" ? lost(core, error) : error;
  }
  await letRun(core, session);
  if (!record.paused) await session.until((view) => view.state === "running", "starting the vCPUs", { signal });
  else core.emit({ type: "lifecycle", transition: "paused", cause: "self", detail: "migrated" });
  await core.update((state) => withMigration(state, undefined));
  await tidy(session);
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
  await core.update((state) => withMigration(state, { ...record, phase: "taken" }));
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

/** Once the source has gone over to post-copy it can't take the guest back, and the guest waits for nothing but to run. */
export function watchForPostcopy(core: GuestCore): void {
  const { session } = core;
  if (session === undefined) return;
  const look = async (): Promise<void> => {
    if (incomingOf(core)?.phase !== "waiting" || core.session !== session) return;
    const { status } = await session.execute("query-migrate");
    if (status === "postcopy-active") await letRun(core, session);
  };
  const unwatch = session.watch((event) => {
    if (incomingOf(core)?.phase !== "waiting") return unwatch();
    if (event !== undefined && event.event !== "MIGRATION") return;
    void look().catch((error: unknown) =>
      traceMessage("hypervise:kvm:background-failure", () => ({
        instance: core.instance,
        error: asError(error).message,
      })),
    );
  });
}

/** Takes up a guest that an earlier process was letting run. */
export async function takeAgain(core: GuestCore, session: GuestSession): Promise<void> {
  if (incomingOf(core)?.phase === "taken") await letRun(core, session);
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

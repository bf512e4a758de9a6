/** Reads anew what the events of a guest would have told, after a time in which there was nobody to hear them. */
import { reconcileDisks } from "../block/prepare.js";
import type { GuestCore } from "../guest-core.js";
import { endGuestHelpers } from "../helpers/guest-helpers.js";
import { queryAgent, reconcileDevices } from "../hotplug/reconcile.js";
import { settleMoves } from "../migration/adopt.js";
import { isMoving } from "../migration/moving.js";
import { removeSockets } from "../process.js";
import type { GuestSession } from "../session.js";
import type { GuestState } from "../state/guest-state.js";
import { tuneGuest } from "./tune.js";
import { endedState, withProcess, withoutClone } from "../state/state-changes.js";

/** Power state, devices and agent of a guest in memory. Without effect while it is being started. */
export async function synchronise(core: GuestCore): Promise<void> {
  const { session } = core;
  if (session === undefined || core.starting) return;
  const { UUID: uuid } = await session.execute("query-uuid");
  if (uuid !== core.definition.uuid) return disown(core);
  const { status } = await session.execute("query-status");
  const unborn = status === "prelaunch" || status === "inmigrate" || isArriving(core.state);
  if (core.state.process === undefined && unborn) return abandonStart(core, session);
  if (core.state.clone !== undefined && !isMoving(core)) return abandonStart(core, session);
  if (await settleMoves(core, session)) {
    core.adopting = false;
    return;
  }
  // What changed while no driver watched is the state that the guest is found in, not news.
  session.observe((await session.execute("query-status")).status, !core.adopting);
  await noteProcess(core, session);
  await reconcileDevices(core);
  if (core.definition.guestAgent) core.noteAgent(await queryAgent(session));
  core.adopting = false;
  await tuneGuest(core, session);
  await reconcileDisks(core);
}

/** The guest was to come from a file or another host, and has not run here. */
function isArriving({ saved, migration }: GuestState): boolean {
  return saved?.phase === "saved" || migration?.phase === "waiting";
}

/** Its driver died before the guest had run: a start that has not succeeded has failed. */
async function abandonStart(core: GuestCore, session: GuestSession): Promise<void> {
  await core.release();
  await session.process.kill(core.host.timeouts.killMs);
  await endGuestHelpers(core);
  await removeSockets(core.files);
  await core.update(withoutClone);
}

/** Whoever answers there is another guest. */
async function disown(core: GuestCore): Promise<void> {
  await core.release();
  await core.update((state) =>
    endedState(state, { state: "crashed", at: core.host.clock.now(), detail: "another guest answers in its place" }),
  );
}

async function noteProcess(core: GuestCore, { process, view }: GuestSession): Promise<void> {
  const { pid, startTime } = process.identity;
  const { accelerator, bootId, clock } = core.host;
  const known = core.state.process;
  if (known?.pid === pid && known.startTime === startTime && known.state === view.state) return;
  const startedAt = known?.startedAt ?? clock.now();
  await core.update((state) =>
    withProcess(state, {
      bootId,
      pid,
      startTime,
      startedAt,
      accelerator: known?.accelerator ?? accelerator,
      state: view.state,
    }),
  );
}

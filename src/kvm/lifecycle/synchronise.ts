/** Reads anew what the events of a guest would have told, after a time in which there was nobody to hear them. */
import type { GuestCore } from "../guest-core.js";
import { queryAgent, reconcileDevices } from "../hotplug/reconcile.js";
import { removeSockets } from "../process.js";
import type { GuestSession } from "../session.js";
import { endedState, withProcess } from "../state/state-changes.js";

/** Power state, devices and agent of a guest in memory. Without effect while it is being started. */
export async function synchronise(core: GuestCore): Promise<void> {
  const { session } = core;
  if (session === undefined || core.starting) return;
  const { UUID: uuid } = await session.execute("query-uuid");
  if (uuid !== core.definition.uuid) return disown(core);
  const { status } = await session.execute("query-status");
  if (core.state.process === undefined && status === "prelaunch") return abandonStart(core, session);
  // What changed while no driver watched is the state that the guest is found in, not news.
  session.observe(status, !core.adopting);
  await noteProcess(core, session);
  await reconcileDevices(core);
  if (core.definition.guestAgent) core.noteAgent(await queryAgent(session));
  core.adopting = false;
}

/** Its driver died before the guest had run: a start that has not succeeded has failed. */
async function abandonStart(core: GuestCore, session: GuestSession): Promise<void> {
  await core.release();
  await session.process.kill(core.host.timeouts.killMs);
  await removeSockets(core.files);
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

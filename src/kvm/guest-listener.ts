/** What a guest does about the reports of its session: keeps its state, finishes unplugging, tells the driver. */
import { asError, traceMessage } from "../core/index.js";
import { diskOnNode, handleOfNode } from "./block/nodes.js";
import { abandonWork } from "./block/work.js";
import type { Report } from "./events.js";
import { revokeGuest } from "./access/grant-access.js";
import type { GuestCore } from "./guest-core.js";
import { endGuestHelpers } from "./helpers/guest-helpers.js";
import { finishUnplug } from "./hotplug/unplug.js";
import { synchronise } from "./lifecycle/synchronise.js";
import { withPhase } from "./plan/hardware.js";
import type { SessionListener } from "./session.js";
import { endedState, withLiveState } from "./state/state-changes.js";

export function guestListener(core: GuestCore): SessionListener {
  return {
    report: (report) => onReport(core, report),
    resync: () => traced(core, synchronise(core)),
    // An end during the start is the start's to deal with.
    ended: (end) => (core.starting ? undefined : onEnded(core, end)),
  };
}

function onReport(core: GuestCore, report: Report): void {
  switch (report.type) {
    case "lifecycle": {
      const live = core.session?.view.state;
      if (live !== undefined)
        void traced(
          core,
          core.update((state) => withLiveState(state, live)),
        );
      return core.emit(report);
    }
    case "agent":
      return core.noteAgent(report.connected);
    case "ioError":
      void traced(core, onIoError(core, report));
      return;
    case "unplugged":
      void traced(core, finishUnplug(core, report.handle));
      return;
    case "unplugRefused":
      return onRefused(core, report.handle);
  }
}

async function onIoError(core: GuestCore, report: Extract<Report, { type: "ioError" }>): Promise<void> {
  const { handle, node, reason } = report;
  const { bindings } = core.state.hardware;
  const binding = bindings.find((candidate) => candidate.handle === (handle === "" ? handleOfNode(node) : handle));
  const { session } = core;
  const device = binding?.id ?? (session === undefined ? undefined : await diskOnNode(core, session, node));
  if (device !== undefined) core.emit({ type: "ioError", device, ...(reason === undefined ? {} : { reason }) });
}

function onRefused(core: GuestCore, handle: string): void {
  const binding = core.bindingOfHandle(handle);
  if (binding === undefined) return core.settleUnplug(handle, "refused");
  void traced(
    core,
    core.update((state) => ({ ...state, hardware: withPhase(state.hardware, handle, undefined) })),
  );
  core.settleUnplug(handle, "refused");
  if (binding.kind !== "memory") core.emit({ type: "deviceDetachFailed", device: binding.id });
}

function onEnded(core: GuestCore, end: Parameters<SessionListener["ended"]>[0]): void {
  const { transition, detail } = end;
  const news = !core.away && core.state.migration?.phase !== "waiting";
  const record = {
    state: transition === "crashed" ? "crashed" : "shutdown",
    at: core.host.clock.now(),
    ...(detail === undefined ? {} : { detail }),
  } as const;
  core.forget();
  const written = core.update((state) => endedState(state, record));
  void traced(core, written);
  // Who waits for the end may start the guest anew at once: what is kept of this one must be written by then.
  core.ending = written
    .catch(() => undefined)
    .then(() => (core.working ? undefined : abandonWork(core)))
    .then(() => traced(core, endGuestHelpers(core)))
    .then(() => revokeGuest(core))
    .then(() => {
      core.settleAllUnplugs();
      if (news) core.emit(end);
      core.wakeStopWaiters();
    });
}

/** Work that an event has caused and that nobody waits for. What fails is traced, and made good at the next synchronisation. */
async function traced(core: GuestCore, work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    traceMessage("hypervise:kvm:background-failure", () => ({
      instance: core.instance,
      error: asError(error).message,
    }));
  }
}

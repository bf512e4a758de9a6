/** What libvirt's states and lifecycle events mean for a guest. Pure. */
import type { EventCause, LifecycleTransition, PowerState } from "../../driver/index.js";
import {
  DomainEventShutdownDetailType as Shutdown,
  DomainEventStartedDetailType as Started,
  DomainEventStoppedDetailType as Stopped,
  DomainEventType as Type,
  DomainPausedReason as Paused,
  DomainShutoffReason as Shutoff,
  DomainState as State,
} from "../rpc/index.js";

/** What is known of a guest. */
export interface GuestView {
  readonly state: PowerState;
  /** Who makes the guest power off, once it has begun to. */
  readonly shutdownBy?: EventCause;
  /** A call of this process is bringing it into memory: until that has succeeded there is nothing to tell. */
  readonly starting: boolean;
  /** It is being saved, copied or migrated: libvirt then stops and resumes its vCPUs as it needs. */
  readonly moving: boolean;
  /** This driver has asked it to power off. */
  readonly shutdownAsked: boolean;
  /** libvirt has told that it was started, while a call of this process did so. */
  readonly startTold?: boolean;
}

export interface LifecycleReport {
  readonly transition: LifecycleTransition;
  readonly cause: EventCause;
  readonly detail?: string;
}

export interface LifecycleStep {
  readonly view: GuestView;
  readonly report?: LifecycleReport;
}

/** A guest that is defined and was never started. */
export const AT_REST: GuestView = { state: "shutdown", starting: false, moving: false, shutdownAsked: false };

export function isInMemory(state: PowerState, { domainState }: { readonly domainState?: number } = {}): boolean {
  if (domainState !== undefined) return domainState !== State.shutoff && domainState !== State.nostate;
  return state === "running" || state === "paused";
}

/**
 * The power state that `virDomainGetState` tells.
 * @param saved whether libvirt keeps the guest's memory on disk
 */
export function powerStateOf(
  { state, reason }: { readonly state: number; readonly reason: number },
  saved = false,
): PowerState {
  switch (state) {
    case State.running:
    case State.blocked:
    case State.shutdown:
      return "running";
    case State.paused:
      return reason === Paused.crashed ? "crashed" : "paused";
    case State.pmsuspended:
      return "paused";
    case State.crashed:
      return "crashed";
    case State.shutoff:
      if (saved) return "suspended";
      return reason === Shutoff.crashed ? "crashed" : "shutdown";
    default:
      return "nostate";
  }
}

/** One lifecycle event of `virDomainEventType`. */
export function interpretLifecycle(
  view: GuestView,
  { event, detail }: { readonly event: number; readonly detail: number },
): LifecycleStep {
  switch (event) {
    case Type.started:
      return onStarted(view, detail);
    case Type.suspended:
      return stepTo(view, "paused", { transition: "paused", cause: "external" });
    case Type.pmsuspended:
      return stepTo(view, "paused", { transition: "paused", cause: "guest" });
    case Type.resumed:
      return stepTo(view, "running", { transition: "resumed", cause: "external" });
    case Type.shutdown:
      return { view: { ...view, shutdownBy: shutdownCause(view, detail) } };
    case Type.stopped:
      return onStopped(view, detail);
    case Type.crashed:
      return stepTo(view, "crashed", { transition: "crashed", cause: "crash", detail: "panicked" });
    default:
      return { view };
  }
}

function onStarted(view: GuestView, detail: number): LifecycleStep {
  // One that comes from another host stands still until all of it is here.
  const state = detail === Started.migrated ? "paused" : "running";
  const next: GuestView = { ...AT_REST, starting: view.starting, moving: view.moving, state };
  if (view.starting) return { view: { ...next, startTold: true } };
  // What is known already was read in the meantime.
  if (view.moving || view.state === "running") return { view: next };
  if (detail === Started.wakeup) return stepTo(view, "running", { transition: "resumed", cause: "guest" });
  const transition = detail === Started.restored ? "resumed" : "started";
  return { view: next, report: { transition, cause: "external" } };
}

function onStopped(view: GuestView, detail: number): LifecycleStep {
  const rest: GuestView = { ...AT_REST, starting: view.starting, moving: view.moving };
  const quiet = view.starting || view.moving || !isInMemory(view.state);
  const told = (state: PowerState, report: LifecycleReport): LifecycleStep =>
    quiet ? { view: { ...rest, state } } : { view: { ...rest, state }, report };
  switch (detail) {
    case Stopped.crashed:
    case Stopped.failed:
      return told("crashed", {
        transition: "crashed",
        cause: "crash",
        detail: detail === Stopped.failed ? "failed" : "crashed",
      });
    case Stopped.saved:
      return told("suspended", { transition: "suspended", cause: "external" });
    case Stopped.destroyed:
      return told("shutdown", { transition: "stopped", cause: "external", detail: "destroyed" });
    case Stopped.migrated:
      return told("shutdown", { transition: "stopped", cause: "external", detail: "migrated" });
    default:
      return told("shutdown", { transition: "stopped", cause: view.shutdownBy ?? "guest", detail: "shutdown" });
  }
}

function shutdownCause({ shutdownAsked }: GuestView, detail: number): EventCause {
  if (detail === Shutdown.host) return "external";
  return shutdownAsked ? "self" : "guest";
}

function stepTo(view: GuestView, state: PowerState, report: LifecycleReport): LifecycleStep {
  // libvirt tells that a guest was resumed before it tells that it was started.
  if (!view.starting && !view.moving && !isInMemory(view.state)) return { view };
  // A guest that powers off is stopped on its way.
  const quiet = view.starting || view.moving || view.state === state || view.shutdownBy !== undefined;
  return { view: { ...view, state }, ...(quiet ? {} : { report }) };
}

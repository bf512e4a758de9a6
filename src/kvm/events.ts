/** What QEMU's events mean for a guest: a step from one view of it to the next, and what to report. Pure. */
import type { EventCause, LifecycleTransition, PowerState } from "../driver/index.js";
import type { QmpEvent } from "../qmp/index.js";
import { PARTS } from "./plan/command-line.js";

/** What this driver has asked QEMU for and not yet seen the outcome of. */
export type Request = "cont" | "stop" | "reset" | "powerdown" | "quit" | "kill" | "wakeup";

/** What is known of a guest in memory. */
export interface GuestView {
  readonly state: Extract<PowerState, "running" | "paused" | "crashed">;
  /** True once its vCPUs have run. */
  readonly launched: boolean;
  /** While SeaBIOS owes the reset by which it answers every other, and which is not another reboot. */
  readonly firmwareResetDue: boolean;
  /** When the last reset was, by QEMU's clock, in seconds. */
  readonly lastReset?: number;
  /** Why QEMU is about to end, as it said itself. */
  readonly shutdown?: { readonly guest: boolean; readonly reason: string };
  readonly requested: ReadonlySet<Request>;
  /** True while the guest is being saved or migrated: QEMU then stops and resumes the vCPUs as it needs. */
  readonly moving?: boolean;
}

export type Report =
  | {
      readonly type: "lifecycle";
      readonly transition: LifecycleTransition;
      readonly cause: EventCause;
      readonly detail?: string;
    }
  | { readonly type: "agent"; readonly connected: boolean }
  /** `handle` and `node` are QEMU's. */
  | { readonly type: "ioError"; readonly handle: string; readonly node: string; readonly reason?: string }
  | { readonly type: "unplugged"; readonly handle: string }
  | { readonly type: "unplugRefused"; readonly handle: string };

export interface Step {
  readonly view: GuestView;
  readonly reports: readonly Report[];
}

/** Which QEMU run states are which power state. */
const RUN_STATES: { readonly [status: string]: GuestView["state"] } = {
  running: "running",
  "guest-panicked": "crashed",
  "internal-error": "crashed",
};

/** The power state that a run state of QEMU stands for. `query-status` alone tells a guest that was stopped from one that broke. */
export function powerStateOf(status: string): GuestView["state"] {
  return RUN_STATES[status] ?? "paused";
}

/** A guest that was just launched, its vCPUs stopped. */
export const UNLAUNCHED: GuestView = {
  state: "paused",
  launched: false,
  firmwareResetDue: false,
  requested: new Set(),
};

/** The view with a request noted, or taken back. */
export function withRequest(view: GuestView, request: Request, pending: boolean): GuestView {
  const requested = new Set(view.requested);
  if (pending) requested.add(request);
  else requested.delete(request);
  return { ...view, requested };
}

/**
 * One event of QEMU. `status` is what `query-status` says after a `STOP` that nobody here asked for.
 * @param biosResets whether the guest's firmware is SeaBIOS
 */
export function interpret(view: GuestView, event: QmpEvent, status: string | undefined, biosResets: boolean): Step {
  const { data } = event;
  switch (event.event) {
    case "RESUME":
      return onResume(view);
    case "STOP":
      return onStop(view, status);
    case "SUSPEND":
      return moved(view, "paused", "paused", "guest");
    case "WAKEUP":
      return moved(
        withRequest(view, "wakeup", false),
        "running",
        "resumed",
        view.requested.has("wakeup") ? "self" : "guest",
      );
    case "RESET":
      return onReset(view, data["guest"] === true, event.timestamp, biosResets);
    case "SHUTDOWN":
      return {
        view: { ...view, shutdown: { guest: data["guest"] === true, reason: text(data["reason"]) ?? "none" } },
        reports: [],
      };
    case "DEVICE_DELETED":
      // virtio devices come twice; the first time without `device`, for their inner half.
      return { view, reports: withHandle(deletedHandle(data), (handle) => ({ type: "unplugged", handle })) };
    case "ACPI_DEVICE_OST":
      return {
        view,
        reports: withHandle(refusedHandle(data["info"]), (handle) => ({ type: "unplugRefused", handle })),
      };
    case "DEVICE_UNPLUG_GUEST_ERROR":
    case "MEM_UNPLUG_ERROR":
      return { view, reports: withHandle(data["device"], (handle) => ({ type: "unplugRefused", handle })) };
    case "BLOCK_IO_ERROR":
      return { view, reports: [ioError(data)] };
    case "VSERPORT_CHANGE":
      return { view, reports: data["id"] === PARTS.agent ? [{ type: "agent", connected: data["open"] === true }] : [] };
    default:
      return { view, reports: [] };
  }
}

/** Whether {@link interpret} wants to know QEMU's run state with this event. */
export function needsStatus(view: GuestView, event: QmpEvent): boolean {
  return event.event === "STOP" && (view.moving === true || !view.requested.has("stop"));
}

/** How the process ended. */
export interface ProcessEnd {
  readonly exitCode?: number;
  readonly signal?: string;
  /** The end of what QEMU wrote to its log. */
  readonly log?: string;
}

/** What the end of QEMU's process means. */
export function interpretEnd(
  view: GuestView,
  end: ProcessEnd,
): Extract<Report, { type: "lifecycle" }> & { readonly transition: "stopped" | "crashed" } {
  const { shutdown, requested } = view;
  const byUs = requested.has("quit") || requested.has("kill");
  if (shutdown === undefined) {
    if (requested.has("kill")) return { type: "lifecycle", transition: "stopped", cause: "self", detail: "killed" };
    return { type: "lifecycle", transition: "crashed", cause: "crash", detail: endText(end) };
  }
  const { reason } = shutdown;
  switch (reason) {
    case "guest-panic":
    case "host-error":
      return { type: "lifecycle", transition: "crashed", cause: "crash", detail: reason };
    case "guest-shutdown":
    case "guest-reset":
      return {
        type: "lifecycle",
        transition: "stopped",
        cause: requested.has("powerdown") ? "self" : "guest",
        detail: reason,
      };
    default:
      return { type: "lifecycle", transition: "stopped", cause: byUs ? "self" : "external", detail: reason };
  }
}

function onResume(view: GuestView): Step {
  const cause = view.requested.has("cont") ? "self" : "external";
  const next = withRequest(view, "cont", false);
  if (view.moving === true) return { view: next, reports: [] };
  if (!view.launched)
    return { view: { ...next, launched: true, state: "running" }, reports: [lifecycle("started", cause)] };
  return moved(next, "running", "resumed", cause);
}

/** Run states that a guest which is being saved or migrated passes through. What comes of it is reported by whoever moves it. */
const MOVING_STATES: ReadonlySet<string | undefined> = new Set([
  ...["finish-migrate", "postmigrate", "inmigrate", "paused", "running"],
  undefined,
]);

function onStop(view: GuestView, status: string | undefined): Step {
  if (view.moving === true && MOVING_STATES.has(status)) return { view: withRequest(view, "stop", false), reports: [] };
  if (view.requested.has("stop")) return moved(withRequest(view, "stop", false), "paused", "paused", "self");
  if (status !== undefined && powerStateOf(status) === "crashed") {
    const reports = view.state === "crashed" ? [] : [lifecycle("crashed", "crash", status)];
    return { view: { ...view, state: "crashed" }, reports };
  }
  // A guest on its way out is stopped too; its end is reported when the process has ended.
  if (view.shutdown !== undefined || status === "shutdown") return { view, reports: [] };
  return moved(view, "paused", "paused", "external", status);
}

/** SeaBIOS tries several ways to reset the machine, and before the first takes effect the others may have been tried too. */
const RESET_BURST_SECONDS = 1;

function onReset(view: GuestView, byGuest: boolean, timestamp: QmpEvent["timestamp"], biosResets: boolean): Step {
  const at = timestamp.seconds + timestamp.microseconds / 1e6;
  const ofFirmware =
    byGuest &&
    biosResets &&
    (view.firmwareResetDue || (view.lastReset !== undefined && at - view.lastReset < RESET_BURST_SECONDS));
  if (ofFirmware) return { view: { ...view, firmwareResetDue: false, lastReset: at }, reports: [] };
  const cause = byGuest ? "guest" : view.requested.has("reset") ? "self" : "external";
  const next = { ...withRequest(view, "reset", false), firmwareResetDue: biosResets && view.launched, lastReset: at };
  return { view: next, reports: [lifecycle("rebooted", cause)] };
}

function moved(
  view: GuestView,
  state: GuestView["state"],
  transition: LifecycleTransition,
  cause: EventCause,
  detail?: string,
): Step {
  if (view.state === state) return { view, reports: [] };
  return { view: { ...view, state }, reports: [lifecycle(transition, cause, detail)] };
}

function lifecycle(transition: LifecycleTransition, cause: EventCause, detail?: string): Report {
  return { type: "lifecycle", transition, cause, ...(detail === undefined ? {} : { detail }) };
}

function ioError(data: QmpEvent["data"]): Report {
  const reason = data["nospace"] === true ? "no space left" : text(data["reason"]);
  return {
    type: "ioError",
    handle: text(data["device"]) ?? "",
    node: text(data["node-name"]) ?? "",
    ...(reason === undefined ? {} : { reason }),
  };
}

/** A device without an id, such as a vCPU that the guest was started with, goes by its path. */
function deletedHandle({ device, path }: QmpEvent["data"]): unknown {
  if (device !== undefined) return device;
  return typeof path === "string" && /^\/machine\/unattached\/[^/]+$/.test(path) ? path : undefined;
}

/** Sources and states of ACPI's _OST: an ejection that was asked for, and its failures but for "in progress". */
const EJECTION_SOURCES: ReadonlySet<unknown> = new Set([3, 0x103]);
const EJECTION_FAILURES: ReadonlySet<unknown> = new Set([1, 2, 0x80, 0x81, 0x82, 0x83]);

/** What the guest's firmware tables say of a vCPU or memory that was to be taken. A vCPU without an id is called by its place. */
function refusedHandle(info: unknown): unknown {
  if (typeof info !== "object" || info === null) return undefined;
  const { device, slot, source, status, ...rest } = info as { readonly [member: string]: unknown };
  if (!EJECTION_SOURCES.has(source) || !EJECTION_FAILURES.has(status)) return undefined;
  if (typeof device === "string" && device !== "") return device;
  return rest["slot-type"] === "CPU" && typeof slot === "string" ? `vcpu${slot}` : undefined;
}

function withHandle(handle: unknown, report: (handle: string) => Report): readonly Report[] {
  return typeof handle === "string" && handle !== "" ? [report(handle)] : [];
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function endText({ exitCode, signal, log }: ProcessEnd): string {
  const how =
    signal !== undefined
      ? `QEMU was ended by ${signal}`
      : exitCode !== undefined
        ? `QEMU ended with status ${exitCode}`
        : "QEMU is gone";
  return log === undefined || log === "" ? how : `${how}: ${log}`;
}

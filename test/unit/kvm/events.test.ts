import { describe, expect, it } from "vitest";
import {
  UNLAUNCHED,
  interpret,
  interpretEnd,
  needsStatus,
  powerStateOf,
  withRequest,
} from "../../../src/kvm/events.js";
import type { GuestView, Report, Request } from "../../../src/kvm/events.js";
import type { QmpEvent } from "../../../src/qmp/index.js";

const event = (name: string, data: Record<string, unknown> = {}): QmpEvent =>
  ({ event: name, data, timestamp: { seconds: 0, microseconds: 0 } }) as QmpEvent;
const running: GuestView = { ...UNLAUNCHED, state: "running", launched: true };
const asked = (view: GuestView, request: Request): GuestView => withRequest(view, request, true);

/** The reports of a sequence of events. */
function follow(
  view: GuestView,
  events: readonly QmpEvent[],
  status?: string,
): { readonly view: GuestView; readonly reports: readonly Report[] } {
  const reports: Report[] = [];
  let now = view;
  for (const next of events) {
    const step = interpret(now, next, needsStatus(now, next) ? status : undefined, true);
    now = step.view;
    reports.push(...step.reports);
  }
  return { view: now, reports };
}

describe("events of a guest's vCPUs", () => {
  it("begin with its start", () => {
    expect(follow(asked(UNLAUNCHED, "cont"), [event("RESUME")])).toMatchObject({
      view: { state: "running", launched: true },
      reports: [{ transition: "started", cause: "self" }],
    });
  });

  it("are told apart by who caused them", () => {
    expect(follow(asked(running, "stop"), [event("STOP")]).reports).toEqual([
      { type: "lifecycle", transition: "paused", cause: "self" },
    ]);
    expect(follow(running, [event("STOP")], "paused").reports).toMatchObject([
      { transition: "paused", cause: "external" },
    ]);
    const paused = { ...running, state: "paused" } as const;
    expect(follow(asked(paused, "cont"), [event("RESUME")]).reports).toMatchObject([
      { transition: "resumed", cause: "self" },
    ]);
    expect(follow(paused, [event("RESUME")]).reports).toMatchObject([{ transition: "resumed", cause: "external" }]);
  });

  it("say that a guest has broken when QEMU's run state says so", () => {
    const { view, reports } = follow(running, [event("STOP")], "internal-error");
    expect(view.state).toBe("crashed");
    expect(reports).toEqual([{ type: "lifecycle", transition: "crashed", cause: "crash", detail: "internal-error" }]);
  });

  it("say why a guest was stopped that ran out of disk", () => {
    expect(follow(running, [event("STOP")], "io-error").reports).toMatchObject([
      { transition: "paused", detail: "io-error" },
    ]);
  });

  it("are not reported twice", () => {
    expect(follow(running, [event("RESUME")]).reports).toEqual([]);
    expect(follow({ ...running, state: "paused" }, [event("STOP")], "paused").reports).toEqual([]);
  });

  it("follow a guest that sleeps and wakes", () => {
    expect(follow(running, [event("SUSPEND"), event("WAKEUP")]).reports).toMatchObject([
      { transition: "paused", cause: "guest" },
      { transition: "resumed", cause: "guest" },
    ]);
  });
});

describe("events of a guest whose memory is being moved", () => {
  const moving: GuestView = { ...running, moving: true };
  it("that QEMU causes by itself are no news", () => {
    for (const status of ["finish-migrate", "postmigrate", "paused", "running", undefined]) {
      expect(follow(moving, [event("STOP"), event("RESUME")], status)).toEqual({ view: moving, reports: [] });
    }
    expect(follow(asked(moving, "cont"), [event("RESUME")])).toEqual({ view: moving, reports: [] });
  });
  it("tell of a guest that breaks, or runs out of disk, all the same", () => {
    expect(follow(moving, [event("STOP")], "guest-panicked").reports).toMatchObject([{ transition: "crashed" }]);
    expect(follow(moving, [event("STOP")], "io-error").reports).toMatchObject([
      { transition: "paused", detail: "io-error" },
    ]);
  });
});

describe("resets", () => {
  const at = (seconds: number, guest: boolean): QmpEvent => ({
    ...event("RESET", { guest, reason: guest ? "guest-reset" : "host-qmp-system-reset" }),
    timestamp: { seconds: Math.floor(seconds), microseconds: Math.round((seconds % 1) * 1e6) },
  });
  const byGuest = at(0, true);
  const byHost = at(0, false);

  it("are reported once, though SeaBIOS resets the machine once more, however slowly", () => {
    const own = asked(running, "reset");
    expect(follow(own, [at(1, false), at(9, true)]).reports).toEqual([
      { type: "lifecycle", transition: "rebooted", cause: "self" },
    ]);
    expect(follow(running, [at(1, true), at(1.1, true), at(20, true), at(23, true)]).reports).toMatchObject([
      { transition: "rebooted", cause: "guest" },
      { transition: "rebooted", cause: "guest" },
    ]);
  });

  it("are reported once, though SeaBIOS may do it in a burst", () => {
    const burst = [at(6.264, true), at(6.328, true), at(6.344, true), at(6.388, true), at(6.388, true)];
    expect(follow(running, burst).reports).toHaveLength(1);
    expect(follow(running, [...burst, at(15, true)]).reports).toHaveLength(2);
  });

  it("of a firmware that does not do so are all reported", () => {
    let view = running;
    const reports: Report[] = [];
    for (let i = 0; i < 3; i++) {
      const step = interpret(view, byGuest, undefined, false);
      view = step.view;
      reports.push(...step.reports);
    }
    expect(reports).toHaveLength(3);
  });

  it("by somebody else on the host are external", () => {
    expect(follow(running, [byHost]).reports).toMatchObject([{ transition: "rebooted", cause: "external" }]);
  });
});

describe("devices", () => {
  it("are gone when QEMU names them, not when it names their inner halves", () => {
    expect(
      follow(running, [event("DEVICE_DELETED", { path: "/machine/peripheral/disk1/virtio-backend" })]).reports,
    ).toEqual([]);
    expect(
      follow(running, [event("DEVICE_DELETED", { device: "disk1", path: "/machine/peripheral/disk1" })]).reports,
    ).toEqual([{ type: "unplugged", handle: "disk1" }]);
    expect(follow(running, [event("DEVICE_UNPLUG_GUEST_ERROR", { device: "disk1" })]).reports).toEqual([
      { type: "unplugRefused", handle: "disk1" },
    ]);
  });

  it("that fail are named", () => {
    const data = {
      device: "",
      "node-name": "disk1-format",
      operation: "write",
      action: "stop",
      nospace: true,
      reason: "No space left",
    };
    expect(follow(running, [event("BLOCK_IO_ERROR", data)]).reports).toEqual([
      { type: "ioError", handle: "", node: "disk1-format", reason: "no space left" },
    ]);
  });

  it("of the agent's channel tell of the agent, others do not", () => {
    expect(follow(running, [event("VSERPORT_CHANGE", { id: "agent0", open: true })]).reports).toEqual([
      { type: "agent", connected: true },
    ]);
    expect(follow(running, [event("VSERPORT_CHANGE", { id: "other", open: true })]).reports).toEqual([]);
  });

  it("bear any nonsense", () => {
    for (const data of [{}, { device: 5 }, { device: null, guest: "x", reason: {} }]) {
      for (const name of ["DEVICE_DELETED", "BLOCK_IO_ERROR", "SHUTDOWN", "RESET", "VSERPORT_CHANGE", "UNHEARD_OF"]) {
        expect(() => follow(running, [event(name, data)])).not.toThrow();
      }
    }
  });
});

describe("the end of QEMU", () => {
  const after = (view: GuestView, reason?: string, end = {}) =>
    interpretEnd(
      reason === undefined
        ? view
        : follow(view, [event("SHUTDOWN", { guest: reason.startsWith("guest"), reason })]).view,
      end,
    );

  it.each([
    ["guest-shutdown", running, "stopped", "guest"],
    ["guest-shutdown", asked(running, "powerdown"), "stopped", "self"],
    ["host-qmp-quit", asked(running, "quit"), "stopped", "self"],
    ["host-qmp-quit", running, "stopped", "external"],
    ["host-signal", running, "stopped", "external"],
    ["host-signal", asked(running, "kill"), "stopped", "self"],
    ["guest-panic", running, "crashed", "crash"],
    ["host-error", running, "crashed", "crash"],
  ] as const)("by %s is told with its cause", (reason, view, transition, cause) => {
    expect(after(view, reason)).toMatchObject({ transition, cause, detail: reason });
  });

  it("without a word is a crash, unless we have killed it", () => {
    expect(after(running, undefined, { signal: "SIGSEGV", log: "boom" })).toMatchObject({
      transition: "crashed",
      cause: "crash",
      detail: "QEMU was ended by SIGSEGV: boom",
    });
    expect(after(running, undefined, { exitCode: 1 })).toMatchObject({ detail: "QEMU ended with status 1" });
    expect(after(asked(running, "kill"))).toMatchObject({ transition: "stopped", cause: "self" });
  });
});

it("knows every run state", () => {
  const states = {
    running: "running",
    paused: "paused",
    prelaunch: "paused",
    "io-error": "paused",
    suspended: "paused",
    "internal-error": "crashed",
    "guest-panicked": "crashed",
    "of the future": "paused",
  };
  for (const [status, state] of Object.entries(states)) expect(powerStateOf(status)).toBe(state);
});

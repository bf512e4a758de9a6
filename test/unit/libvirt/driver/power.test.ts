import { describe, expect, it } from "vitest";
import { AT_REST, interpretLifecycle, powerStateOf } from "../../../../src/libvirt/driver/power.js";
import type { GuestView, LifecycleReport } from "../../../../src/libvirt/driver/power.js";
import {
  DomainEventShutdownDetailType as Shutdown,
  DomainEventStartedDetailType as Started,
  DomainEventStoppedDetailType as Stopped,
  DomainEventSuspendedDetailType as Suspended,
  DomainEventType as Type,
  DomainPausedReason,
  DomainShutoffReason,
  DomainState,
} from "../../../../src/libvirt/index.js";

type Told = readonly [event: number, detail?: number];

/** What a guest's events are told as, from a view on. */
function story(
  view: Partial<GuestView>,
  ...events: readonly Told[]
): { readonly state: string; readonly told: readonly LifecycleReport[] } {
  let now: GuestView = { ...AT_REST, ...view };
  const told: LifecycleReport[] = [];
  for (const [event, detail = 0] of events) {
    const step = interpretLifecycle(now, { event, detail });
    now = step.view;
    if (step.report !== undefined) told.push(step.report);
  }
  return { state: now.state, told };
}

describe("libvirt's states", () => {
  it.for([
    [DomainState.running, 0, false, "running"],
    [DomainState.blocked, 0, false, "running"],
    [DomainState.paused, DomainPausedReason.user, false, "paused"],
    [DomainState.paused, DomainPausedReason.crashed, false, "crashed"],
    [DomainState.shutdown, 0, false, "running"],
    [DomainState.shutoff, DomainShutoffReason.destroyed, false, "shutdown"],
    [DomainState.shutoff, DomainShutoffReason.crashed, false, "crashed"],
    [DomainState.shutoff, DomainShutoffReason.saved, true, "suspended"],
    [DomainState.shutoff, DomainShutoffReason.crashed, true, "suspended"],
    [DomainState.crashed, 0, false, "crashed"],
    [DomainState.pmsuspended, 0, false, "paused"],
    [DomainState.nostate, 0, false, "nostate"],
  ] as const)("%i for reason %i, saved %s, is %s", ([state, reason, saved, expected]) => {
    expect(powerStateOf({ state, reason }, saved)).toBe(expected);
  });
});

describe("libvirt's events", () => {
  const running = { state: "running" } as const;

  it("tell of a guest that somebody else starts, once", () => {
    const { state, told } = story({}, [Type.resumed], [Type.started, Started.booted], [Type.started, Started.booted]);
    expect({ state, told }).toEqual({ state: "running", told: [{ transition: "started", cause: "external" }] });
  });

  it("say nothing of a start that a call of ours brings about", () => {
    const { told } = story(
      { starting: true },
      [Type.resumed],
      [Type.started],
      [Type.suspended],
      [Type.stopped, Stopped.failed],
    );
    expect(told).toEqual([]);
  });

  it("tell who made a guest power off", () => {
    const off = (asked: boolean, by: number): unknown =>
      story({ ...running, shutdownAsked: asked }, [Type.shutdown, by], [Type.stopped, Stopped.shutdown]).told[0]?.cause;
    expect(off(false, Shutdown.guest)).toBe("guest");
    expect(off(true, Shutdown.guest)).toBe("self");
    expect(off(false, Shutdown.host)).toBe("external");
    expect(off(true, Shutdown.host)).toBe("external");
  });

  it("do not call a guest paused that is on its way out", () => {
    const { told } = story(
      running,
      [Type.shutdown, Shutdown.guest],
      [Type.suspended],
      [Type.stopped, Stopped.shutdown],
    );
    expect(told.map(({ transition }) => transition)).toEqual(["stopped"]);
  });

  it.for([
    [Stopped.destroyed, "stopped", "shutdown"],
    [Stopped.crashed, "crashed", "crashed"],
    [Stopped.failed, "crashed", "crashed"],
    [Stopped.saved, "suspended", "suspended"],
    [Stopped.migrated, "stopped", "shutdown"],
  ] as const)("tell of an end with detail %i: %s", ([detail, transition, state]) => {
    const end = story(running, [Type.stopped, detail]);
    expect(end.state).toBe(state);
    expect(end.told.map((report) => report.transition)).toEqual([transition]);
  });

  it("tell of a panic once, though the guest is then taken out of memory", () => {
    const { state, told } = story(running, [Type.crashed], [Type.stopped, Stopped.crashed]);
    expect(state).toBe("crashed");
    expect(told.map(({ transition }) => transition)).toEqual(["crashed"]);
  });

  it("tell of a pause and its end, and of neither twice", () => {
    const { told } = story(
      running,
      [Type.suspended, Suspended.paused],
      [Type.suspended, Suspended.paused],
      [Type.resumed],
      [Type.resumed],
    );
    expect(told.map(({ transition }) => transition)).toEqual(["paused", "resumed"]);
  });

  it("say nothing while a guest is being moved", () => {
    const { state, told } = story(
      { ...running, moving: true },
      [Type.suspended, Suspended.migrated],
      [Type.stopped, Stopped.migrated],
    );
    expect({ state, told }).toEqual({ state: "shutdown", told: [] });
  });

  it("say nothing of an end that is known already", () => {
    expect(story({ state: "shutdown" }, [Type.stopped, Stopped.destroyed]).told).toEqual([]);
  });

  it("mean nothing when they are of definitions", () => {
    expect(story(running, [Type.defined], [Type.undefined])).toEqual({ state: "running", told: [] });
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JsonObject, JsonValue } from "../../../src/core/index.js";
import { planHardware, withPhase } from "../../../src/kvm/plan/hardware.js";
import { formatGuestState, parseGuestState } from "../../../src/kvm/state/guest-state.js";
import type { GuestState } from "../../../src/kvm/state/guest-state.js";
import {
  endedState,
  withLiveState,
  withMigration,
  withProcess,
  withSavedMemory,
  withoutDevice,
  withoutProcess,
} from "../../../src/kvm/state/state-changes.js";
import { UUID, definition, disk, nic } from "./definitions.js";

const base: GuestState = (() => {
  const guest = definition({ disks: [disk("root"), disk("data")], nics: [nic("port")] });
  return {
    version: 1,
    definition: guest,
    hardware: planHardware(guest, "q35", { machineType: "pc-q35-7.2", hotplugPorts: 1 }),
  };
})();
const process = { bootId: "boot", pid: 42, startTime: 7, startedAt: 1, accelerator: "tcg", state: "running" } as const;
const leaving = { role: "source", phase: "switchover", wasRunning: true, copied: ["disk0"] } as const;
const corrupt = expect.objectContaining({ code: "STATE_CORRUPT" }) as Error;

describe("the state of a guest", () => {
  it.each([
    ["defined", base],
    ["running", withProcess(base, process)],
    ["paused", withProcess(base, { ...process, state: "paused" })],
    ["being plugged", { ...base, hardware: withPhase(base.hardware, "disk1", "attaching") }],
    ["leaving", withMigration(withProcess(base, process), leaving)],
    ["waited for", withMigration(base, { role: "destination", phase: "waiting", paused: true })],
    ["suspended", withSavedMemory(base, { phase: "saved", wasRunning: true, at: 9 })],
    ["ended", endedState(withProcess(base, process), { state: "crashed", at: 5, detail: "QEMU ended with status 1" })],
  ] as const)("comes back from its file as it was: %s", (_, state) => {
    const text = JSON.stringify(formatGuestState(state));
    expect(parseGuestState(JSON.parse(text) as JsonValue, UUID, "file")).toEqual(state);
  });

  it("is refused when it was written by a later release, and says so", () => {
    const later = { ...(formatGuestState(base) as JsonObject), version: 2 };
    expect(() => parseGuestState(later, UUID, "file")).toThrow(corrupt);
    expect(() => parseGuestState(later, UUID, "file")).toThrow(/newer release/);
  });

  it("is refused when it is another guest's", () => {
    expect(() => parseGuestState(formatGuestState(base), "0b0c5c5e-5f50-4d0b-8a35-6c4f2f0c1a02", "file")).toThrow(
      corrupt,
    );
  });

  it("is refused, with a typed error, when any value of it is another", () => {
    const good = JSON.stringify(formatGuestState(withProcess(base, process)));
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.constantFrom("0", "x", '"', "}", "-"), (at, character) => {
        const text = good.slice(0, at) + character + good.slice(at + 1);
        let value: JsonValue;
        try {
          value = JSON.parse(text) as JsonValue;
        } catch {
          return;
        }
        try {
          const state = parseGuestState(value, UUID, "file");
          expect(parseGuestState(formatGuestState(state), UUID, "file")).toEqual(state);
        } catch (error) {
          expect(error).toMatchObject({ code: "STATE_CORRUPT" });
        }
      }),
    );
  });
});

describe("changes of the state", () => {
  it("take out of a guest that has ended what it was being given or asked to let go of", () => {
    const attaching = {
      ...base,
      hardware: withPhase(withPhase(base.hardware, "disk1", "attaching"), "nic2", "detaching"),
    };
    const ended = endedState(withProcess(attaching, process), { state: "shutdown", at: 3 });
    expect(ended.definition.disks.map(({ id }) => id)).toEqual(["root"]);
    expect(ended.definition.nics).toEqual([]);
    expect(ended.hardware.bindings.map(({ id }) => id)).toEqual(["root"]);
    expect(ended.process).toBeUndefined();
  });

  it("keep a disk that was plugged anew under the id of one that leaves", () => {
    const again = {
      ...base.hardware,
      bindings: [
        ...base.hardware.bindings,
        { kind: "disk", id: "data", handle: "disk9", pool: "port", slot: 3 } as const,
      ],
    };
    const state = withoutDevice({ ...base, hardware: again }, { kind: "disk", id: "data", handle: "disk1" });
    expect(state.definition.disks.map(({ id }) => id)).toEqual(["root", "data"]);
  });

  it("are none when the guest is known to be so", () => {
    const running = withProcess(base, process);
    expect(withLiveState(running, "running")).toBe(running);
    expect(withLiveState(base, "paused")).toBe(base);
    expect(withLiveState(running, "paused").process?.state).toBe("paused");
    expect(withoutProcess(running)).toEqual(base);
  });

  it("keep whole memory of a guest that has ended, and forget what was being written", () => {
    const end = { state: "shutdown", at: 1 } as const;
    const saved = { phase: "saved", wasRunning: true, at: 1 } as const;
    expect(endedState(withSavedMemory(base, saved), end).saved).toEqual(saved);
    for (const phase of ["saving", "copied"] as const)
      expect(endedState(withSavedMemory(base, { ...saved, phase }), end).saved).toBeUndefined();
    expect(endedState(withMigration(base, leaving), end).migration).toEqual({ ...leaving, phase: "departed" });
  });

  it("make QEMU's last words printable", () => {
    const ended = endedState(base, { state: "crashed", at: 1, detail: "a\u0000b\u001b[31m\ud800c\nd" });
    expect(ended.end?.detail).toBe("a?b?[31m?c\nd");
    expect(() => formatGuestState(ended)).not.toThrow();
  });
});

import { describe, expect, it } from "vitest";
import type { JsonObject, JsonValue } from "../../../src/core/index.js";
import { withSource, withoutWork } from "../../../src/kvm/block/work.js";
import { planHardware } from "../../../src/kvm/plan/hardware.js";
import { formatGuestState, parseGuestState } from "../../../src/kvm/state/guest-state.js";
import type { GuestState } from "../../../src/kvm/state/guest-state.js";
import { UUID, definition, disk } from "./definitions.js";

const guest = definition({ disks: [disk("root"), disk("cd", { bus: "sata", deviceType: "cdrom" })], nics: [] });
const base: GuestState = {
  version: 1,
  definition: guest,
  hardware: planHardware(guest, "q35", { machineType: "pc-q35-7.2", hotplugPorts: 1 }),
};
const [from, to] = [
  { type: "file", path: "/a", format: "raw" } as const,
  { type: "nbd", server: { type: "unix", path: "/s" }, exportName: "", format: "qcow2" } as const,
];
const work = { diskIds: ["root"], jobs: ["mirror-disk0"], files: ["/copy"], bitmaps: ["hypervise-1-x"] };
const read = (state: GuestState): GuestState =>
  parseGuestState(JSON.parse(JSON.stringify(formatGuestState(state))) as JsonValue, UUID, "file");

describe("the state of a guest", () => {
  it.each([
    ["work", { ...base, work }],
    ["a move", { ...base, work: { ...work, move: { diskId: "root", node: "#block12", from, to } } }],
    ["a medium put in", { ...base, work: { ...work, move: { diskId: "cd", to } } }],
    [
      "checkpoints",
      { ...base, checkpoints: [{ name: "m.1", bitmap: "hypervise-1-m.1", createdAt: 1, diskIds: ["root"] }] },
    ],
    ["an empty drive", withSource(base, "cd", undefined)],
    [
      "limits",
      {
        ...base,
        definition: definition({
          disks: [disk("root", { tuning: { limits: { totalBytesPerSecond: 1_000 } } })],
          nics: [],
        }),
      },
    ],
  ] as readonly [string, GuestState][])("keeps %s", (_, state) => {
    expect(read(state)).toEqual(state);
  });

  it.each([
    ["a file by a relative path", { ...work, files: ["copy"] }],
    ["a job that is no name", { ...work, jobs: ["a b"] }],
    ["something unknown", { ...work, more: 1 }],
  ])("is refused with %s", (_, bad) => {
    const text = { ...(formatGuestState(base) as JsonObject), work: bad as unknown as JsonValue };
    expect(() => parseGuestState(text, UUID, "file")).toThrow(
      expect.objectContaining({ code: "STATE_CORRUPT" }) as Error,
    );
  });

  it("changes the source of one disk alone, and forgets work", () => {
    const moved = withSource({ ...base, work }, "root", to);
    expect(moved.definition.disks.map(({ source }) => source)).toEqual([to, guest.disks[1]?.source]);
    expect(withSource(moved, "root", undefined).definition.disks[0]).not.toHaveProperty("source");
    expect(withoutWork(moved)).not.toHaveProperty("work");
    expect(moved.work).toEqual(work);
  });
});

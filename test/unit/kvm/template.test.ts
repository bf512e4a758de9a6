import { describe, expect, it } from "vitest";
import type { GuestDefinition, GuestTemplate } from "../../../src/driver/index.js";
import { bindDisk, bindNic, planHardware } from "../../../src/kvm/plan/hardware.js";
import type { Hardware } from "../../../src/kvm/plan/hardware.js";
import {
  cloneHardware,
  describePlatform,
  readTemplate,
  requireRunnable,
} from "../../../src/kvm/template/template-platform.js";
import { formatGuestState, parseGuestState } from "../../../src/kvm/state/guest-state.js";
import type { GuestState } from "../../../src/kvm/state/guest-state.js";
import { withoutClone } from "../../../src/kvm/state/state-changes.js";
import { qemu72 } from "./capabilities.js";
import { definition, disk, nic } from "./definitions.js";

const host = { accelerator: "tcg", cpuModel: "max", capabilities: qemu72 } as const;
const tap = (deviceName: string) => ({ type: "tap", deviceName, bridge: "br0", queues: 1 }) as const;
const there: GuestDefinition = definition({
  disks: [disk("root"), disk("swap", { deviceName: "vdb" })],
  nics: [nic("port-a", { backend: tap("a") }), nic("port-b", { backend: tap("b") })],
});
const here: GuestDefinition = {
  ...there,
  uuid: "11111111-2222-4333-8444-555555555555",
  name: "clone",
  disks: there.disks.map((one) => ({
    ...one,
    id: `own-${one.id}`,
    source: { type: "file", path: `/own/${one.id}`, format: "qcow2" },
  })),
  nics: there.nics.map((one) => ({ ...one, id: `own-${one.id}`, macAddress: "52:54:00:11:22:33" })),
};
const planned = planHardware(there, "q35", { machineType: "pc-q35-7.2", hotplugPorts: 4 });
/** Of a guest that has lost and been given devices in its life: the memory knows them where they are. */
const moved: Hardware = bindNic(
  bindDisk(
    { ...planned, bindings: planned.bindings.filter(({ id }) => id !== "root" && id !== "port-a") },
    disk("root"),
  ),
  "port-a",
);
const hardware: Hardware = { ...moved, generationId: "99999999-0000-4000-8000-000000000000" };
const template: GuestTemplate = {
  memoryPath: "/templates/one/memory",
  definition: there,
  platform: describePlatform(host, hardware),
};

describe("the hardware of a guest from a template", () => {
  it("is the template's, under the guest's own names, and of a generation of its own", () => {
    const cloned = cloneHardware(here, { definition: there, hardware }, () => "fresh");
    expect(cloned.generationId).toBe("fresh");
    expect(cloned.bindings).toEqual(
      hardware.bindings.map((binding) =>
        ["disk", "nic"].includes(binding.kind) ? { ...binding, id: `own-${binding.id}` } : binding,
      ),
    );
    expect({ ...cloned, bindings: [], generationId: "" }).toEqual({ ...hardware, bindings: [], generationId: "" });
    const { generationId: _, ...without } = hardware;
    expect(cloneHardware(here, { definition: there, hardware: without }, () => "fresh")).not.toHaveProperty(
      "generationId",
    );
  });

  it.each<readonly [what: string, changes: Partial<GuestDefinition>]>([
    ["vcpus", { vcpus: 7 }],
    ["memoryMiB", { memoryMiB: 17 }],
    ["guestAgent", { guestAgent: !there.guestAgent }],
    ["the number of disks", { disks: here.disks.slice(1) }],
    ["the number of NICs", { nics: [...here.nics, nic("third")] }],
    ["bus of disk own-root", { disks: here.disks.map((one) => ({ ...one, bus: "scsi" })) }],
    ["deviceName of disk own-root", { disks: [...here.disks].map((one) => ({ ...one, deviceName: "vdz" })) }],
    ["model of NIC own-port-a", { nics: here.nics.map((one) => ({ ...one, model: "e1000" })) }],
    ["mtu of NIC own-port-a", { nics: here.nics.map((one) => ({ ...one, mtu: 1280 })) }],
    ["the network of NIC own-port-a", { nics: here.nics.map((one) => ({ ...one, backend: { type: "user" } })) }],
  ])("is refused to a guest that would have something else: %s", (what, changes) => {
    expect(() => cloneHardware({ ...here, ...changes }, { definition: there, hardware }, () => "fresh")).toThrow(
      expect.objectContaining({ code: "TEMPLATE_UNUSABLE", message: expect.stringContaining(what) as string }),
    );
  });
});

describe("a NIC in the place of one that has gone", () => {
  it("has its slot and its number, and a name of its own in QEMU", () => {
    const [place] = hardware.bindings.filter(({ id }) => id === "port-a");
    const without = { ...hardware, bindings: hardware.bindings.filter(({ id }) => id !== "port-a") };
    const bound = bindNic(without, "own", place).bindings.at(-1);
    expect(bound).toEqual({ ...place, id: "own", handle: `nic${hardware.nextHandle}` });
    expect(place).toMatchObject({ slot: expect.any(Number) as number, acpiIndex: expect.any(Number) as number });
  });
});

describe("a guest whose start from a template has not succeeded", () => {
  it("is what it was before, and read so", () => {
    const state: GuestState = {
      version: 1,
      definition: { ...here, nics: [] },
      hardware,
      process: { bootId: "boot", pid: 7, startTime: 8, startedAt: 9, accelerator: "tcg", state: "running" },
      clone: { definition: here, hardware: planned },
    };
    const read = parseGuestState(formatGuestState(state), here.uuid, "runtime.json");
    expect(read).toEqual(state);
    expect(withoutClone(read)).toEqual({ version: 1, definition: here, hardware: planned });
    const { clone: _, ...whole } = state;
    expect(withoutClone(whole)).toBe(whole);
  });
});

describe("what a template says", () => {
  it("is read as it was written", () => {
    const read = readTemplate(JSON.parse(JSON.stringify(template)) as GuestTemplate);
    expect(read).toMatchObject({ version: 1, accelerator: "tcg", cpuModel: "max", hardware, definition: there });
    expect(() => requireRunnable(read, host)).not.toThrow();
  });

  it.each<readonly [what: string, changes: Partial<GuestTemplate>]>([
    ["no platform", { platform: {} }],
    ["another layout", { platform: { ...template.platform, version: 2 } }],
    ["something beside", { platform: { ...template.platform, more: true } }],
    ["hardware that is none", { platform: { ...template.platform, hardware: { machine: "q35" } } }],
    ["a definition that is none", { definition: { uuid: "x" } as GuestDefinition }],
    ["a path that is none", { memoryPath: "memory" }],
  ])("is refused where it is no template of this kind of host: %s", (_, changes) => {
    expect(() => readTemplate({ ...template, ...changes })).toThrow(
      expect.objectContaining({ code: "TEMPLATE_UNUSABLE" }),
    );
  });

  it("is refused by a host that can't run it", () => {
    const read = readTemplate(template);
    const others = [
      { ...host, accelerator: "kvm" },
      { ...host, cpuModel: "EPYC" },
      { ...host, capabilities: { ...qemu72, machines: [] } },
    ] as const;
    for (const other of others)
      expect(() => requireRunnable(read, other)).toThrow(expect.objectContaining({ code: "TEMPLATE_UNUSABLE" }));
  });
});

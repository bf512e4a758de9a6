import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { GuestDefinition } from "../../../src/driver/index.js";
import { bindDisk, bindNic, bindingOf, planHardware, unbind } from "../../../src/kvm/plan/hardware.js";
import type { Hardware } from "../../../src/kvm/plan/hardware.js";
import { TOPOLOGIES, slotsOf } from "../../../src/kvm/plan/topology.js";
import type { KvmMachine } from "../../../src/kvm/plan/topology.js";
import { definition, disk, nic } from "./definitions.js";

const policy = { machineType: "pc-q35-7.2", hotplugPorts: 2 };
const code = (value: string): Error => expect.objectContaining({ code: value }) as Error;

function slots(hardware: Hardware): Record<string, string> {
  return Object.fromEntries(hardware.bindings.map(({ id, pool, slot }) => [id, `${pool} ${slot}`]));
}

describe("the hardware of a guest", () => {
  it("has a root port for each disk and NIC of a q35, and some to spare", () => {
    const hardware = planHardware(definition({ disks: [disk("root"), disk("data")] }), "q35", policy);
    expect(slots(hardware)).toEqual({ root: "port 0", data: "port 1", port: "port 2" });
    expect(hardware.ports).toBe(5);
  });

  it("keeps a device where it was when others come and go", () => {
    const first = planHardware(definition({ disks: [disk("a"), disk("b"), disk("c")], nics: [] }), "q35", policy);
    const second = planHardware(definition({ disks: [disk("c"), disk("d")], nics: [] }), "q35", policy, first);
    expect(slots(second)).toEqual({ c: "port 2", d: "port 0" });
    expect(second.ports).toBe(4);
  });

  it("never gives a handle twice, so that an event about an old device is not taken for a new one", () => {
    const first = planHardware(definition({ disks: [disk("a")], nics: [] }), "q35", policy);
    const without = unbind(first, "disk0");
    expect(bindingOf(bindDisk(without, disk("a")), "disk", "a")?.handle).toBe("disk1");
  });

  it("keeps the machine's version when QEMU becomes another", () => {
    const old = planHardware(definition(), "q35", { ...policy, machineType: "pc-q35-7.2" });
    expect(planHardware(definition(), "q35", { ...policy, machineType: "pc-q35-10.0" }, old).machineType).toBe(
      "pc-q35-7.2",
    );
  });

  it("begins anew on another machine, and moves a disk that changes its bus", () => {
    const old = planHardware(definition(), "q35", policy);
    expect(slots(planHardware(definition(), "pc", policy, old))).toEqual({ root: "pci 8", port: "pci 9" });
    const moved = planHardware(definition({ disks: [disk("root", { bus: "sata" })] }), "q35", policy, old);
    expect(slots(moved)).toEqual({ root: "ahci 0", port: "port 1" });
  });

  it("has a SCSI controller while there are SCSI disks", () => {
    const scsi = planHardware(
      definition({ disks: [disk("a", { bus: "scsi" }), disk("b", { bus: "scsi" })], nics: [] }),
      "q35",
      policy,
    );
    expect(slots(scsi)).toEqual({ scsi0: "port 0", a: "scsi 0", b: "scsi 1" });
    expect(slots(planHardware(definition({ disks: [disk("c")], nics: [] }), "q35", policy, scsi))).toEqual({
      c: "port 0",
    });
  });

  it("gives a running guest only the ports that it has", () => {
    const hardware = planHardware(definition({ disks: [], nics: [] }), "q35", policy);
    const full = bindNic(bindNic(hardware, "one"), "two");
    expect(() => bindNic(full, "three")).toThrow(code("NO_FREE_SLOT"));
    expect(bindNic(unbind(full, "nic0"), "three").bindings.at(-1)).toMatchObject({ slot: 0 });
  });

  it("says so when a machine lacks a bus or slots", () => {
    expect(() => planHardware(definition({ disks: [disk("a", { bus: "ide" })] }), "microvm", policy)).toThrow(
      code("NOT_SUPPORTED"),
    );
    const many = Array.from({ length: 5 }, (_, i) => disk(`d${i}`, { bus: "ide" }));
    expect(() => planHardware(definition({ disks: many }), "pc", policy)).toThrow(code("NO_FREE_SLOT"));
  });

  it("never puts two devices into one slot and never moves one, over any history of definitions", () => {
    const machine = fc.constantFrom<KvmMachine>("q35", "pc");
    const bus = fc.constantFrom("virtio", "scsi", "sata", "usb" as const);
    const disks = fc.uniqueArray(fc.record({ id: fc.integer({ min: 0, max: 9 }), bus }), {
      selector: ({ id }) => id,
      maxLength: 5,
    });
    const nics = fc.uniqueArray(fc.integer({ min: 0, max: 5 }), { maxLength: 4 });
    const guest = fc.record({ disks, nics }).map((shape): GuestDefinition =>
      definition({
        disks: shape.disks.map((entry) => disk(`d${entry.id}`, { bus: entry.bus })),
        nics: shape.nics.map((id) => nic(`n${id}`)),
      }),
    );
    fc.assert(
      fc.property(machine, fc.array(guest, { minLength: 1, maxLength: 8 }), (name, history) => {
        let hardware: Hardware | undefined;
        for (const step of history) {
          const next = planHardware(step, name, policy, hardware);
          const places = next.bindings.map(({ pool, slot }) => `${pool} ${slot}`);
          expect(new Set(places).size).toBe(places.length);
          expect(new Set(next.bindings.map(({ handle }) => handle)).size).toBe(next.bindings.length);
          for (const { pool, slot } of next.bindings) {
            const { size, reserved } = slotsOf(TOPOLOGIES[name], pool, next.ports);
            expect(slot).toBeLessThan(size);
            expect(reserved).not.toContain(slot);
          }
          for (const { id } of step.disks) expect(bindingOf(next, "disk", id)).toBeDefined();
          for (const { id } of step.nics) expect(bindingOf(next, "nic", id)).toBeDefined();
          for (const before of hardware?.bindings ?? []) {
            const after = bindingOf(next, before.kind, before.id);
            if (after?.pool === before.pool) expect(after).toMatchObject({ slot: before.slot, handle: before.handle });
          }
          hardware = next;
        }
      }),
    );
  });
});

describe("parts that stay", () => {
  const slotsFor = (hardware: GuestDefinition["hardware"], machine: KvmMachine = "q35", previous?: Hardware) =>
    planHardware(definition({ nics: [], ...(hardware === undefined ? {} : { hardware }) }), machine, policy, previous);

  it("are cards above the root ports, or in a port of their own; on a pc among all others", () => {
    const wanted = {
      sound: { model: "ich9" },
      watchdog: { model: "i6300esb", action: "none" },
      vsock: { cid: 3 },
      filesystems: [{ tag: "data", path: "/d", driver: "9p" }],
      vnc: {},
    } as const;
    const parts = { sound0: "root 24", watchdog0: "root 25", vsock0: "port 0", "fs-data": "port 1", pointer0: "usb 0" };
    expect(slots(slotsFor(wanted))).toEqual({ ...parts, root: "port 2" });
    expect(slots(slotsFor(wanted, "pc"))).toMatchObject({ sound0: "pci 8", "fs-data": "pci 11", root: "pci 12" });
    expect(() => slotsFor({ sound: { model: "usb" } }, "microvm")).toThrow(code("NOT_SUPPORTED"));
  });

  it("leave the disks where they were, and go when they are not wanted", () => {
    const before = slotsFor(undefined);
    const after = slotsFor({ vsock: { cid: 3 } }, "q35", before);
    expect(slots(after)).toEqual({ root: "port 0", vsock0: "port 1" });
    expect(slots(slotsFor(undefined, "q35", after))).toEqual({ root: "port 0" });
  });

  it("move with the SCSI controller's kind, which has so many targets", () => {
    const disks = Array.from({ length: 8 }, (_, index) => disk(`d${index}`, { bus: "scsi" }));
    const first = planHardware(definition({ disks: disks.slice(0, 2), nics: [] }), "q35", policy);
    const small = definition({ disks: disks.slice(0, 2), nics: [], hardware: { scsiController: "lsi" } });
    expect(slots(planHardware(small, "q35", policy, first))).toEqual({ scsi0: "root 24", d0: "scsi 0", d1: "scsi 1" });
    const full = definition({ disks, nics: [], hardware: { scsiController: "lsi" } });
    expect(() => planHardware(full, "q35", policy)).toThrow(code("NO_FREE_SLOT"));
  });

  it("are a pointer only where nobody chose one", () => {
    const devices = [{ type: "usbInput", id: "mouse", model: "mouse" }] as const;
    expect(slots(slotsFor({ spice: {}, devices }))).toEqual({ root: "port 0", mouse: "usb 0" });
  });
});

describe("numbers of NICs", () => {
  const numbers = ({ bindings }: Hardware): Record<string, number | undefined> =>
    Object.fromEntries(bindings.filter(({ kind }) => kind === "nic").map(({ id, acpiIndex }) => [id, acpiIndex]));
  const withNics = (ids: readonly string[], previous?: Hardware): Hardware =>
    planHardware(definition({ disks: [], nics: ids.map((id) => nic(id)) }), "q35", policy, previous);

  it("stay with the NIC, and are given again when it is gone", () => {
    const first = withNics(["a", "b"]);
    expect(numbers(first)).toEqual({ a: 1, b: 2 });
    expect(numbers(withNics(["b", "c"], first))).toEqual({ b: 2, c: 1 });
  });

  it("are not given to NICs that the guest knows by other names", () => {
    const old = withNics(["a"]);
    const bindings = old.bindings.map(({ acpiIndex: _, ...binding }) => binding);
    expect(numbers(withNics(["a", "b"], { ...old, bindings }))).toEqual({ a: undefined, b: 1 });
  });
});

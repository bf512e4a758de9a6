import { describe, expect, it } from "vitest";
import {
  keptMemory,
  maxMemoryMiB,
  memoryObject,
  memorySlots,
  wantsVirtioMem,
} from "../../../src/kvm/plan/memory-slots.js";
import type { DeviceBinding } from "../../../src/kvm/plan/hardware.js";

const module = (slot: number, sizeMiB: number): DeviceBinding => ({
  kind: "memory",
  id: `memory${slot}`,
  handle: `memory${slot}`,
  pool: "dimm",
  slot,
  sizeMiB,
});

describe("memory that is plugged into a guest", () => {
  it("has slots where the guest may grow", () => {
    expect(memorySlots({ memoryMiB: 512 })).toBe(0);
    expect(memorySlots({ memoryMiB: 512, hardware: { memory: { maxMiB: 1024 } } })).toBe(16);
    expect(memorySlots({ memoryMiB: 512, hardware: { memory: { maxMiB: 1024, slots: 2 } } })).toBe(2);
    const virtio = { memoryMiB: 512, hardware: { memory: { maxMiB: 1024, hotplug: "virtio-mem" } } } as const;
    expect([memorySlots(virtio), wantsVirtioMem(virtio), maxMemoryMiB(virtio)]).toEqual([0, true, 1024]);
  });

  it("stays over a restart while the definition counts it, and is the machine's own once it does not", () => {
    const previous = { bootMemoryMiB: 512, bindings: [module(0, 128), module(3, 256)] };
    const hardware = { memory: { maxMiB: 4096, slots: 4 } };
    expect(keptMemory({ memoryMiB: 896, hardware }, previous)).toEqual(previous);
    expect(keptMemory({ memoryMiB: 1024, hardware }, previous)).toEqual({ bindings: [] });
    expect(keptMemory({ memoryMiB: 896 }, previous)).toEqual({ bindings: [] });
    expect(keptMemory({ memoryMiB: 896, hardware: { memory: { maxMiB: 4096, slots: 3 } } }, previous)).toEqual({
      bindings: [],
    });
    expect(keptMemory({ memoryMiB: 896, hardware }, undefined)).toEqual({ bindings: [] });
  });

  it("is of the kind that the guest's memory is of", () => {
    const size = 128 * 1_048_576;
    expect(memoryObject("m", 128)).toMatchObject({ "qom-type": "memory-backend-ram", id: "m", size });
    expect(memoryObject("m", 128, { backing: "memfd", shared: true })).toMatchObject({
      "qom-type": "memory-backend-memfd",
      share: true,
    });
    expect(memoryObject("m", 128, { backing: "hugepages", hugepageKiB: 2048 })).toMatchObject({
      hugetlb: true,
      hugetlbsize: 2_097_152,
    });
    expect(memoryObject("m", 128, { backing: "file", directory: "/mnt/x", preallocated: true })).toMatchObject({
      "mem-path": "/mnt/x",
      prealloc: true,
    });
    expect(memoryObject("m", 128, { hotplug: "virtio-mem", preallocated: true })).not.toHaveProperty("prealloc");
  });
});

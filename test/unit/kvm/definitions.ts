// Definitions for the tests of planning and state.
import type { GuestDefinition, GuestDisk, GuestNic } from "../../../src/driver/index.js";

export const UUID = "0b0c5c5e-5f50-4d0b-8a35-6c4f2f0c1a01";

export function disk(id: string, overrides: Partial<GuestDisk> = {}): GuestDisk {
  return {
    id,
    source: { type: "file", path: `/disks/${id}.raw`, format: "raw" },
    bus: "virtio",
    deviceType: "disk",
    deviceName: `vd${id}`,
    readOnly: false,
    shareable: false,
    ...overrides,
  };
}

export function nic(id: string, overrides: Partial<GuestNic> = {}): GuestNic {
  return { id, macAddress: "52:54:00:00:00:01", model: "virtio", backend: { type: "user" }, queues: 1, ...overrides };
}

export function definition(overrides: Partial<GuestDefinition> = {}): GuestDefinition {
  const base = {
    uuid: UUID,
    name: "web",
    vcpus: 1,
    memoryMiB: 128,
    firmware: "bios",
    disks: [disk("root")],
    nics: [nic("port")],
    guestAgent: true,
  } as const;
  return { ...base, ...overrides };
}

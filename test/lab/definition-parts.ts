// Parts of definitions for tests of the seams.
import type { GuestDisk, GuestNic } from "../../src/driver/index.js";

/** A raw disk of a file. */
export function disk(id: string, deviceName: string, path: string, overrides: Partial<GuestDisk> = {}): GuestDisk {
  return {
    id,
    source: { type: "file", path, format: "raw" },
    bus: "virtio",
    deviceType: "disk",
    deviceName,
    readOnly: false,
    shareable: false,
    ...overrides,
  };
}

/** A NIC in a network of its own, with an address that ends in `last`. */
export function nic(id: string, last: number, overrides: Partial<GuestNic> = {}): GuestNic {
  const macAddress = `52:54:00:00:00:${last.toString(16).padStart(2, "0")}`;
  return { id, macAddress, model: "virtio", backend: { type: "user" }, queues: 1, ...overrides };
}

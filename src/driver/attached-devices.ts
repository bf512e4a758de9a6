/** The devices of an instance beside its disks and NICs, as its spec has them. Pure. */
import type { GuestDevice } from "./guest-hardware.js";
import type { InstanceRecord } from "./instance-record.js";

export function devicesOf({ spec }: Pick<InstanceRecord, "spec">): readonly GuestDevice[] {
  return spec.hardware?.devices ?? [];
}

/** The record with other devices. */
export function withDevices(record: InstanceRecord, devices: readonly GuestDevice[]): InstanceRecord {
  const { devices: _devices, ...hardware } = record.spec.hardware ?? {};
  const { hardware: _hardware, ...spec } = record.spec;
  if (devices.length > 0) return { ...record, spec: { ...spec, hardware: { ...hardware, devices } } };
  return Object.keys(hardware).length === 0 ? { ...record, spec } : { ...record, spec: { ...spec, hardware } };
}

/** What the device takes from the host, which one guest can have at a time; undefined when it takes nothing. */
export function hostDeviceOf(device: GuestDevice): string | undefined {
  switch (device.type) {
    case "pciHost":
      return `PCI device ${device.address}`;
    case "mediated":
      return `mediated device ${device.uuid}`;
    case "usbHostAddress":
      return `USB device ${device.bus}:${device.address}`;
    // Of these there may be several alike.
    case "usbHost":
    case "usbInput":
    case "mediatedOfType":
      return undefined;
  }
}

/** Where a guest finds its devices, by libvirt's word. */
import type { CommonOptions } from "../../../core/index.js";
import type { DeviceAddress } from "../../../driver/index.js";
import type { DomainXml, LibvirtXml } from "../../xml/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { findNic, readDomain } from "../plan/index.js";
import { findGuestDisk, readDomainOf } from "./find-device.js";

/** Of a guest that is not in memory: those that it starts with. `virDomainGetXMLDesc`. */
export function deviceAddresses(core: GuestCore, options: CommonOptions): Promise<readonly DeviceAddress[]> {
  const { host, instance } = core;
  return asDriverErrors({ operation: "deviceAddresses", instance }, async () =>
    addressesIn(core, await readDomainOf(core, "live", core.limits(options, host.timeouts.queryMs))),
  );
}

/** Devices that are on no bus, such as a container's, are left out. Pure. */
function addressesIn(core: GuestCore, domain: DomainXml): readonly DeviceAddress[] {
  const { disks, nics } = core.definition;
  const found = readDomain(domain);
  const ofDisks = disks.flatMap(({ id, bus }): readonly DeviceAddress[] => {
    const place = findGuestDisk(core, domain, id)?.xml.address;
    // SCSI, SATA, IDE and floppy disks hang on a drive's address.
    const onDrive = bus === "virtio" ? "pci" : bus;
    return place === undefined ? [] : addressOf({ type: "disk", id }, place, onDrive);
  });
  const ofNics = nics.flatMap(({ id, macAddress }): readonly DeviceAddress[] => {
    const place = findNic(found, id, macAddress)?.xml.address;
    return place === undefined ? [] : addressOf({ type: "nic", id }, place, "pci");
  });
  return [...ofDisks, ...ofNics];
}

function addressOf(
  device: Pick<DeviceAddress, "type" | "id">,
  place: LibvirtXml.DomainAddress,
  drive: string,
): readonly DeviceAddress[] {
  const { type, domain, bus = "0", slot, controller = "0", target = "0", unit = "0", port, reg } = place;
  switch (type) {
    case "pci":
      return [
        {
          ...device,
          bus: "pci",
          address: `${hex(domain, 4)}:${hex(bus, 2)}:${hex(slot, 2)}.${hex(place.function, 1)}`,
        },
      ];
    case "drive":
      return [{ ...device, bus: drive, address: [controller, bus, target, unit].map(Number).join(":") }];
    case "usb":
      return port === undefined ? [] : [{ ...device, bus: "usb", address: `${Number(bus)}:${port}` }];
    case "virtio-mmio":
      return reg === undefined ? [] : [{ ...device, bus: "virtio-mmio", address: reg }];
    default:
      return [];
  }
}

function hex(value: string | undefined, digits: number): string {
  return Number(value ?? 0)
    .toString(16)
    .padStart(digits, "0");
}

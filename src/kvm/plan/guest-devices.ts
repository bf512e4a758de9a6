/** Devices of the user and the host, as `-device` and `device_add` take them. Pure. */
import { NotSupportedError } from "../../core/index.js";
import type { JsonObject } from "../../core/index.js";
import type { GuestDevice } from "../../driver/index.js";
import { expansionAddress } from "./devices.js";
import { USB_CONTROLLER } from "./hardware.js";
import type { DeviceBinding, Hardware } from "./hardware.js";
import { TOPOLOGIES } from "./topology.js";

const USB_INPUT = { tablet: "usb-tablet", mouse: "usb-mouse", keyboard: "usb-kbd" } as const;

/** QEMU's driver for a device: what a QEMU must have been built with. @throws NotSupportedError */
export function guestDeviceDriver(device: GuestDevice): string {
  switch (device.type) {
    case "usbInput":
      return USB_INPUT[device.model];
    case "usbHost":
    case "usbHostAddress":
      return "usb-host";
    case "pciHost":
    case "mediated":
      return "vfio-pci";
    case "mediatedOfType":
      throw handsOutNone();
  }
}

/** The device that the guest sees. */
export function guestDevice(binding: DeviceBinding, device: GuestDevice, hardware: Hardware): JsonObject {
  const common = { driver: guestDeviceDriver(device), id: binding.handle };
  const usb = { bus: `${USB_CONTROLLER}.0`, port: String(binding.slot + 1) };
  switch (device.type) {
    case "usbInput":
      return { ...common, ...usb };
    case "usbHost":
      return { ...common, ...usb, vendorid: device.vendorId, productid: device.productId };
    case "usbHostAddress":
      return { ...common, ...usb, hostbus: device.bus, hostaddr: device.address };
    case "pciHost":
      return { ...common, ...expansionAddress(binding, TOPOLOGIES[hardware.machine]), host: device.address };
    case "mediated":
      return {
        ...common,
        ...expansionAddress(binding, TOPOLOGIES[hardware.machine]),
        sysfsdev: `/sys/bus/mdev/devices/${device.uuid}`,
      };
    case "mediatedOfType":
      throw handsOutNone();
  }
}

function handsOutNone(): NotSupportedError {
  const message = "this hypervisor hands out no mediated devices: name one by its uuid";
  return new NotSupportedError({ capability: "mediated devices by their type", message });
}

/** The USB controller where it was plugged in. */
export function usbController(binding: DeviceBinding, hardware: Hardware): JsonObject {
  return {
    driver: "qemu-xhci",
    id: binding.handle,
    p2: 8,
    p3: 8,
    ...expansionAddress(binding, TOPOLOGIES[hardware.machine]),
  };
}

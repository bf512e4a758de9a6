/** Devices of the host given to a guest, in the words of who wants one. */
import type { DomainHostdev } from "../generated/types.gen.js";
import type { Editable } from "../xml-object.js";
import { defined, yesNo } from "./defined.js";
import { pciAddressXml } from "./pci-address.js";

/** A device of the host for a domain. */
export interface HostDeviceOptions {
  readonly device:
    | { readonly pci: string }
    /** Four hexadecimal digits each: `046d`. */
    | { readonly usb: { readonly vendor: string; readonly product: string } }
    | { readonly usbAddress: { readonly bus: number; readonly device: number } }
    | { readonly mediated: string };
  /** Whether libvirt takes the device from the host's driver and gives it back. */
  readonly managed?: boolean | undefined;
  readonly bootOrder?: number | undefined;
}

/** The element `<hostdev>`. */
export function hostDeviceXml({ device, managed, bootOrder }: HostDeviceOptions): Editable<DomainHostdev> {
  return defined<DomainHostdev>({
    mode: "subsystem",
    managed: yesNo(managed),
    ...deviceOf(device),
    boot: bootOrder === undefined ? undefined : { order: bootOrder },
  });
}

function deviceOf(device: HostDeviceOptions["device"]): Pick<DomainHostdev, "type" | "source" | "model"> {
  if ("pci" in device) return { type: "pci", source: { address: { ...pciAddressXml(device.pci, "device.pci") } } };
  if ("mediated" in device) return { type: "mdev", model: "vfio-pci", source: { address: { uuid: device.mediated } } };
  if ("usb" in device) {
    const { vendor, product } = device.usb;
    return { type: "usb", source: { vendor: { id: `0x${vendor}` }, product: { id: `0x${product}` } } };
  }
  const { bus, device: number } = device.usbAddress;
  return { type: "usb", source: { address: { bus: bus.toString(), device: number.toString() } } };
}

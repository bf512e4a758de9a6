/** Devices beside disks and NICs: of the host, of the user, and directories. Pure. */
import type { GuestDevice, GuestFilesystem } from "../../../driver/index.js";
import type { LibvirtXml } from "../../xml/index.js";
import { filesystemXml, hostDeviceXml } from "../../xml/index.js";
import { defined } from "./defined.js";
import { deviceAlias } from "./device-alias.js";
import { offers } from "./host-facts.js";
import type { PlanContext } from "./plan-context.js";
import { unsupported } from "./refuse.js";

/** A device as its element. Both are for `formatDeviceXml` too, which attaches it. */
export type PlannedDevice =
  | { readonly kind: "input"; readonly xml: LibvirtXml.DomainInput }
  | { readonly kind: "hostdev"; readonly xml: LibvirtXml.DomainHostdev };

/** The element of a device of the guest's. @throws NotSupportedError */
export function planDevice(
  { host, family, options }: Pick<PlanContext, "host" | "family" | "options">,
  device: GuestDevice,
  field: string,
): PlannedDevice {
  if (family !== "qemu") throw unsupported(field, `libvirt's ${host.virtType} guests are not given devices`);
  const alias = { name: deviceAlias("device", device.id) };
  if (device.type === "usbInput") return { kind: "input", xml: { type: device.model, bus: "usb", alias } };
  if (device.type !== "mediatedOfType")
    return { kind: "hostdev", xml: { ...hostDeviceXml(hostDevice(device)), alias } };
  const uuid = options.mediatedUuids?.[device.id];
  if (uuid === undefined) throw unsupported(field, `no mediated device of type ${device.mdevType} is handed out`);
  return { kind: "hostdev", xml: { ...hostDeviceXml({ device: { mediated: uuid } }), alias } };
}

/** PCI functions are taken from their driver and given back by libvirt. */
function hostDevice(
  device: Exclude<GuestDevice, { readonly type: "usbInput" | "mediatedOfType" }>,
): Parameters<typeof hostDeviceXml>[0] {
  switch (device.type) {
    case "usbHost":
      return { device: { usb: { vendor: hex(device.vendorId), product: hex(device.productId) } }, managed: true };
    case "usbHostAddress":
      return { device: { usbAddress: { bus: device.bus, device: device.address } }, managed: true };
    case "pciHost":
      return { device: { pci: device.address }, managed: true };
    case "mediated":
      return { device: { mediated: device.uuid } };
  }
}

function hex(id: number): string {
  return id.toString(16).padStart(4, "0");
}

/** Pointers of pictures meet the guest's with a tablet: guests with a console of pictures get one unless they have an input. */
export function planInputs(context: PlanContext): readonly LibvirtXml.DomainInput[] {
  const { vnc, spice, devices = [] } = context.hardware;
  const own = devices.flatMap((device, index) => {
    const planned = planDevice(context, device, `hardware.devices[${index}]`);
    return planned.kind === "input" ? [planned.xml] : [];
  });
  if (own.length > 0 || (vnc === undefined && spice === undefined)) return own;
  return [{ type: "tablet", bus: "usb", alias: { name: deviceAlias("part", "tablet") } }];
}

export function planHostDevices(context: PlanContext): readonly LibvirtXml.DomainHostdev[] {
  return (context.hardware.devices ?? []).flatMap((device, index) => {
    const planned = planDevice(context, device, `hardware.devices[${index}]`);
    return planned.kind === "hostdev" ? [planned.xml] : [];
  });
}

/** Directories of the host. */
export function planFilesystems(context: PlanContext): readonly LibvirtXml.DomainFilesystem[] {
  return (context.hardware.filesystems ?? []).map((filesystem, index) =>
    filesystemOf(context, filesystem, `hardware.filesystems[${index}]`),
  );
}

const ACCESS_MODES = { mapped: "mapped", passthrough: "passthrough", none: "squash" } as const;

function filesystemOf(
  { facts, host }: PlanContext,
  filesystem: GuestFilesystem,
  field: string,
): LibvirtXml.DomainFilesystem {
  const { tag, path, driver, readOnly = false, securityModel = "mapped" } = filesystem;
  const alias = { name: deviceAlias("filesystem", tag) };
  if (driver === "9p") {
    const xml = filesystemXml({
      source: { directory: path },
      target: tag,
      accessMode: ACCESS_MODES[securityModel],
      readonly: readOnly,
    });
    return { ...xml, alias };
  }
  if (!offers(facts, "filesystem", "driverType", "virtiofs"))
    throw unsupported(`${field}.driver`, "this host's libvirt has no virtiofs");
  if (readOnly && host.libvirtVersion < 11_000_000)
    throw unsupported(`${field}.readOnly`, "virtiofs can be read-only from libvirt 11.0 on");
  const xml = filesystemXml({
    source: { directory: path },
    target: tag,
    driver: "virtiofs",
    accessMode: "passthrough",
    readonly: readOnly,
  });
  return defined<LibvirtXml.DomainFilesystem>({ ...xml, alias });
}

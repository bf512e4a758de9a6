/** Single devices of a guest, as they are attached: the same elements that its domain has. Pure. */
import { isDeepStrictEqual } from "node:util";
import type { GuestDefinition, GuestDevice, GuestDisk, GuestNic } from "../../../driver/index.js";
import { formatDeviceXml } from "../../xml/index.js";
import type { LibvirtXml } from "../../xml/index.js";
import { BootOrder } from "./boot-order.js";
import { planDisk } from "./disks.js";
import { planDevice } from "./guest-devices.js";
import type { PlannedDevice } from "./guest-devices.js";
import type { LibvirtHostFacts } from "./host-facts.js";
import { planInterface } from "./interfaces.js";
import { planContext } from "./plan-context.js";
import type { DomainPlanOptions } from "./plan-options.js";

/** The disk of a guest whose definition has it already. @throws NotSupportedError, InvalidArgumentError */
export function planDiskXml(
  definition: GuestDefinition,
  disk: GuestDisk,
  host: LibvirtHostFacts,
  options: DomainPlanOptions = {},
): string {
  const context = planContext(definition, host, options);
  return formatDeviceXml("disk", planDisk(context, disk, new BootOrder(definition), "disk"));
}

/** The NIC of a guest whose definition has it already. @throws NotSupportedError, InvalidArgumentError */
export function planNicXml(
  definition: GuestDefinition,
  nic: GuestNic,
  host: LibvirtHostFacts,
  options: DomainPlanOptions = {},
): string {
  const context = planContext(definition, host, options);
  return formatDeviceXml("interface", planInterface(context, nic, new BootOrder(definition), "nic"));
}

/** A device of the host or of the user. @throws NotSupportedError */
export function planDeviceXml(
  definition: GuestDefinition,
  device: GuestDevice,
  host: LibvirtHostFacts,
  options: DomainPlanOptions = {},
): string {
  const planned = planHostDevice(definition, device, host, options);
  return planned.kind === "input" ? formatDeviceXml("input", planned.xml) : formatDeviceXml("hostdev", planned.xml);
}

/** As {@link planDeviceXml}, as an element. */
export function planHostDevice(
  definition: GuestDefinition,
  device: GuestDevice,
  host: LibvirtHostFacts,
  options: DomainPlanOptions = {},
): PlannedDevice {
  return planDevice(planContext(definition, host, options), device, "device");
}

/** Whether two elements give a guest the same device of the host. */
export function isSameHostDevice(one: LibvirtXml.DomainHostdev, other: LibvirtXml.DomainHostdev): boolean {
  return one.type === other.type && isDeepStrictEqual(identityOf(one), identityOf(other));
}

/** libvirt writes numbers in its own way, and adds what it has found out. */
function identityOf({ source }: LibvirtXml.DomainHostdev): unknown {
  const { vendor, product, address } = source ?? {};
  if (vendor?.id !== undefined) return [Number(vendor.id), Number(product?.id)];
  if (address?.uuid !== undefined) return address.uuid.toLowerCase();
  return ["domain", "bus", "slot", "device", "function"].map((key) => Number(address?.[key as "bus"] ?? 0));
}

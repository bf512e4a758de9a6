/** Single devices of a guest, as they are attached: the same elements that its domain has. Pure. */
import type { GuestDefinition, GuestDevice, GuestDisk, GuestNic } from "../../../driver/index.js";
import { formatDeviceXml } from "../../xml/index.js";
import { BootOrder } from "./boot-order.js";
import { planDisk } from "./disks.js";
import { planDevice } from "./guest-devices.js";
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
  const planned = planDevice(planContext(definition, host, options), device, "device");
  return planned.kind === "input" ? formatDeviceXml("input", planned.xml) : formatDeviceXml("hostdev", planned.xml);
}

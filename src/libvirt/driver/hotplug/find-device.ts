/** The devices that libvirt's domain of a guest has, in memory or in its configuration. */
import type { GuestDefinition } from "../../../driver/index.js";
import type { DomainXml } from "../../xml/index.js";
import { formatDeviceXml, parseDeviceXml, parseDomainXml } from "../../xml/index.js";
import type { GuestCore } from "../guest-core.js";
import { runsQemu } from "../host.js";
import { planOptionsOf } from "../plan-on-host.js";
import { findDisk, findNic, planDeviceXml, planDiskXml, planNicXml, readDomain } from "../plan/index.js";
import type { FoundDisk, FoundDomain } from "../plan/index.js";
import type { DeviceRef } from "./alter-definition.js";

/** A device as libvirt has it. */
export interface FoundDevice {
  /** Absent where libvirt keeps no names for this kind of guest's devices. */
  readonly alias?: string;
  /** The element, which finds it again. */
  readonly xml: string;
}

interface Limits {
  readonly signal?: AbortSignal | undefined;
  readonly deadlineMs: number;
}

/** `configured`: what the guest starts with the next time. `live`: what it has; of a guest that is not in memory that is the same. `virDomainGetXMLDesc`. */
export async function readDomainOf(
  core: GuestCore,
  where: "configured" | "live",
  limits: Limits = { deadlineMs: core.host.timeouts.callMs },
): Promise<DomainXml> {
  return parseDomainXml(await core.domain.getXmlDesc({ flags: where === "configured" ? ["inactive"] : [], ...limits }));
}

/** The device of the definition: by its alias, else by what tells it from all others: serial number, name, MAC address. */
export function findDevice(core: GuestCore, domain: DomainXml, { kind, id }: DeviceRef): FoundDevice | undefined {
  const found = readDomain(domain);
  const { definition } = core;
  if (kind === "disk") {
    const disk =
      findDisk(found, id, definition.disks.find((one) => one.id === id)?.serial) ?? byTarget(core, found, id);
    return disk === undefined ? undefined : { ...aliasOf(disk), xml: formatDeviceXml("disk", disk.xml) };
  }
  if (kind === "nic") {
    const nic = findNic(found, id, definition.nics.find((one) => one.id === id)?.macAddress);
    return nic === undefined ? undefined : { ...aliasOf(nic), xml: formatDeviceXml("interface", nic.xml) };
  }
  const device = found.devices.find((one) => one.id === id);
  if (device === undefined) return undefined;
  const { alias, device: element } = device;
  const xml =
    element.kind === "input" ? formatDeviceXml("input", element.xml) : formatDeviceXml("hostdev", element.xml);
  return { alias, xml };
}

/** The element of a device that the definition has. @throws NotSupportedError, InvalidArgumentError */
export function planElement(core: GuestCore, definition: GuestDefinition, { kind, id }: DeviceRef): string | undefined {
  const { host, state } = core;
  const options = planOptionsOf(host, definition, state);
  const disk = kind === "disk" ? definition.disks.find((one) => one.id === id) : undefined;
  if (disk !== undefined) return planDiskXml(definition, disk, host.facts, options);
  const nic = kind === "nic" ? definition.nics.find((one) => one.id === id) : undefined;
  if (nic !== undefined) return planNicXml(definition, nic, host.facts, options);
  const device = kind === "device" ? definition.hardware?.devices?.find((one) => one.id === id) : undefined;
  return device === undefined ? undefined : planDeviceXml(definition, device, host.facts, options);
}

/** Guests of other kinds than QEMU's keep no aliases of ours. */
function byTarget(core: GuestCore, { disks }: FoundDomain, id: string): FoundDisk | undefined {
  if (runsQemu(core.host)) return undefined;
  const planned = planElement(core, core.definition, { kind: "disk", id });
  if (planned === undefined) return undefined;
  const target = parseDeviceXml("disk", planned).target?.dev;
  return disks.find((disk) => disk.id === undefined && disk.target === target);
}

function aliasOf({ alias }: { readonly alias?: string }): { readonly alias?: string } {
  return alias === undefined ? {} : { alias };
}

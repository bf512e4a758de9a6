/** The devices that libvirt's domain of a guest has, in memory or in its configuration. */
import type { GuestDefinition } from "../../../driver/index.js";
import type { DomainXml } from "../../xml/index.js";
import { formatDeviceXml, parseDomainXml } from "../../xml/index.js";
import type { GuestCore } from "../guest-core.js";
import { runsQemu } from "../host.js";
import { planOptionsOf } from "../plan-on-host.js";
import {
  diskTarget,
  domainFamily,
  findDisk,
  findNic,
  isSameHostDevice,
  planDeviceXml,
  planDiskXml,
  planHostDevice,
  planNicXml,
  readDeviceAlias,
  readDomain,
} from "../plan/index.js";
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
    const disk = findGuestDisk(core, domain, id);
    return disk === undefined ? undefined : { ...aliasOf(core, disk), xml: formatDeviceXml("disk", disk.xml) };
  }
  if (kind === "nic") {
    const nic = findNic(found, id, definition.nics.find((one) => one.id === id)?.macAddress);
    return nic === undefined ? undefined : { ...aliasOf(core, nic), xml: formatDeviceXml("interface", nic.xml) };
  }
  const device = found.devices.find((one) => one.id === id) ?? byWhatItIs(core, domain, id);
  if (device === undefined) return undefined;
  const { alias, device: element } = device;
  const xml =
    element.kind === "input" ? formatDeviceXml("input", element.xml) : formatDeviceXml("hostdev", element.xml);
  return { ...aliasOf(core, { alias }), xml };
}

/** A disk of the definition: by its alias, serial number or name. */
export function findGuestDisk(core: GuestCore, domain: DomainXml, id: string): FoundDisk | undefined {
  const { definition, host } = core;
  const disk = definition.disks.find((one) => one.id === id);
  const target = disk === undefined ? undefined : diskTarget(domainFamily(host.facts, definition), disk);
  return findDisk(readDomain(domain), id, disk?.serial, target);
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

type UnnamedDevice = Pick<FoundDomain["devices"][number], "device"> & { readonly alias: string | undefined };

/** A device without an alias of ours: an older release gave it none. */
function byWhatItIs({ host, definition, state }: GuestCore, domain: DomainXml, id: string): UnnamedDevice | undefined {
  const device = definition.hardware?.devices?.find((one) => one.id === id);
  if (device === undefined) return undefined;
  const { input = [], hostdev = [] } = domain.devices ?? {};
  const isNameless = ({ alias }: { readonly alias?: { readonly name?: string | undefined } | undefined }): boolean =>
    readDeviceAlias(alias?.name ?? "") === undefined;
  const planned = planHostDevice(definition, device, host.facts, planOptionsOf(host, definition, state));
  if (planned.kind === "input") {
    const xml = input.find((one) => isNameless(one) && one.type === planned.xml.type && one.bus === planned.xml.bus);
    return xml === undefined ? undefined : { alias: xml.alias?.name, device: { kind: "input", xml } };
  }
  const xml = hostdev.find((one) => isNameless(one) && isSameHostDevice(one, planned.xml));
  return xml === undefined ? undefined : { alias: xml.alias?.name, device: { kind: "hostdev", xml } };
}

/** Other drivers than QEMU's know no calls by aliases. */
function aliasOf({ host }: GuestCore, { alias }: { readonly alias?: string | undefined }): { readonly alias?: string } {
  return alias === undefined || !runsQemu(host) ? {} : { alias };
}

/** What of a domain leads back to the devices of its definition. Pure. */
import type { DomainXml, LibvirtXml } from "../../xml/index.js";
import { readDeviceAlias } from "./device-alias.js";
import type { AliasKind } from "./device-alias.js";
import { readMetadata } from "./metadata.js";
import type { DomainMetadata } from "./metadata.js";

export interface FoundDisk {
  /** Our id; absent for a disk that is none of ours. */
  readonly id?: string;
  readonly alias?: string;
  /** libvirt's name in all calls: `vda`. */
  readonly target: string;
  readonly deviceType: string;
  readonly serial?: string;
  /** File, device, or the name on the server that it is read from; absent for a drive without a medium. */
  readonly source?: string;
  readonly format?: string;
  /** The whole element, for updating and detaching. */
  readonly xml: LibvirtXml.DomainDisk;
}

export interface FoundNic {
  readonly id?: string;
  readonly alias?: string;
  readonly macAddress?: string;
  /** The device on the host; libvirt's name of the NIC in calls about statistics. */
  readonly target?: string;
  readonly xml: LibvirtXml.DomainInterface;
}

export interface FoundDevice {
  readonly id: string;
  readonly alias: string;
  readonly device:
    | { readonly kind: "hostdev"; readonly xml: LibvirtXml.DomainHostdev }
    | { readonly kind: "input"; readonly xml: LibvirtXml.DomainInput };
}

export interface FoundDomain {
  readonly uuid?: string;
  readonly name?: string;
  /** Absent while the domain is not in memory. */
  readonly domainId?: number;
  readonly generationId?: string;
  readonly machineType?: string;
  /** What we once wrote of the instance; absent: the domain is not ours. */
  readonly metadata?: DomainMetadata;
  readonly disks: readonly FoundDisk[];
  readonly nics: readonly FoundNic[];
  readonly devices: readonly FoundDevice[];
}

/** The devices of a domain, live or not. Elements that have no alias of ours are found by target, serial or MAC address. */
export function readDomain(domain: DomainXml): FoundDomain {
  const { devices = {}, os, id } = domain;
  const metadata = readMetadata(domain);
  return present<FoundDomain>({
    uuid: domain.uuid,
    name: domain.name,
    domainId: id,
    generationId: domain.genid === "" ? undefined : domain.genid,
    machineType: os?.type?.machine,
    metadata,
    disks: (devices.disk ?? []).flatMap(diskOf),
    nics: (devices.interface ?? []).map(nicOf),
    devices: [...(devices.hostdev ?? []).flatMap(hostDeviceOf), ...(devices.input ?? []).flatMap(inputOf)],
  });
}

/** The disk of an id: by its alias, else by the serial number that only it has, else by libvirt's name where nothing tells that this is another one. */
export function findDisk({ disks }: FoundDomain, id: string, serial?: string, target?: string): FoundDisk | undefined {
  const named = disks.find((disk) => disk.id === id);
  if (named !== undefined) return named;
  const nameless = disks.filter((disk) => disk.id === undefined);
  const alike = serial === undefined ? [] : nameless.filter((disk) => disk.serial === serial);
  if (alike.length > 0) return alike.length === 1 ? alike[0] : undefined;
  return nameless.find((disk) => disk.target === target && (disk.serial ?? serial) === serial);
}

/** The NIC of an id: by its alias, else by its MAC address. */
export function findNic({ nics }: FoundDomain, id: string, macAddress?: string): FoundNic | undefined {
  const named = nics.find((nic) => nic.id === id);
  if (named !== undefined || macAddress === undefined) return named;
  return nics.find((nic) => nic.id === undefined && nic.macAddress === macAddress.toLowerCase());
}

function diskOf(xml: LibvirtXml.DomainDisk): FoundDisk[] {
  const target = xml.target?.dev;
  if (target === undefined) return [];
  const { source } = xml;
  return [
    present<FoundDisk>({
      ...named(xml, "disk"),
      target,
      deviceType: xml.device ?? "disk",
      serial: xml.serial,
      source: source?.file ?? source?.dev ?? source?.name ?? source?.dir ?? source?.volume,
      format: xml.driver?.type,
      xml,
    }),
  ];
}

function nicOf(xml: LibvirtXml.DomainInterface): FoundNic {
  return present<FoundNic>({
    ...named(xml, "nic"),
    macAddress: xml.mac?.address?.toLowerCase(),
    target: xml.target?.dev,
    xml,
  });
}

function hostDeviceOf(xml: LibvirtXml.DomainHostdev): FoundDevice[] {
  const { id, alias } = named(xml, "device");
  return id === undefined || alias === undefined ? [] : [{ id, alias, device: { kind: "hostdev", xml } }];
}

function inputOf(xml: LibvirtXml.DomainInput): FoundDevice[] {
  const { id, alias } = named(xml, "device");
  return id === undefined || alias === undefined ? [] : [{ id, alias, device: { kind: "input", xml } }];
}

function named(
  { alias }: { readonly alias?: LibvirtXml.DomainAlias | undefined },
  kind: AliasKind,
): { readonly id?: string; readonly alias?: string } {
  const name = alias?.name;
  if (name === undefined) return {};
  const ours = readDeviceAlias(name);
  return ours?.kind === kind ? { id: ours.id, alias: name } : { alias: name };
}

function present<T extends object>(object: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T;
}

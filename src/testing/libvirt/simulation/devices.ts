/** Devices of a definition: read from a document of their own, found in a domain, put in and taken out. */
import { parseDeviceXml, parseXmlElement } from "../../../libvirt/xml/index.js";
import type { DeviceKind } from "../../../libvirt/xml/index.js";
import { FakeLibvirtError } from "../fake-libvirt-error.js";
import { completeDisk, completeInterface } from "./complete-domain.js";
import { ALIASED_KINDS, devicesOf } from "./device-names.js";
import type { DomainDocument } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { refusal } from "./refuse.js";
import { bytesOf } from "./sizes.js";

/** What all devices have in common, for the ways in which they are told apart. */
export interface Device {
  alias?: { name?: string } | undefined;
  target?: { dev?: string; bus?: string } | undefined;
  mac?: { address?: string } | undefined;
  [member: string]: unknown;
}

export interface GivenDevice {
  readonly kind: string;
  readonly device: Device;
}

const KINDS: ReadonlySet<string> = new Set([...ALIASED_KINDS, "graphics", "panic", "vsock", "iommu", "lease"]);

/** Reads a device's own document. @throws FakeLibvirtError with the code of libvirt's parser */
export function readDevice(host: HostState, xml: string): GivenDevice {
  let kind: string;
  let device: Device;
  try {
    kind = parseXmlElement(xml).name;
    if (!KINDS.has(kind)) throw refusal("configUnsupported", "domain", `unknown device type '${kind}'`);
    device = parseDeviceXml(kind as DeviceKind, xml) as Device;
  } catch (error) {
    if (error instanceof FakeLibvirtError) throw error;
    throw refusal("xmlError", "domain", error instanceof Error ? error.message : "the device can't be read");
  }
  if (kind === "disk") completeDisk(device);
  if (kind === "interface" && device.mac?.address !== undefined) completeInterface(host, device);
  return { kind, device };
}

/** The device of a domain that a document means: a disk by its target, an interface by its address, a graphical console by its type, others by what is said. */
export function findDevice(document: DomainDocument, { kind, device }: GivenDevice): Device | undefined {
  const candidates = devicesOf(document, kind) as Device[];
  const alias = device.alias?.name;
  if (alias !== undefined) {
    const named = candidates.find((each) => each.alias?.name === alias);
    if (named !== undefined || kind !== "disk") return named;
  }
  if (kind === "disk") return candidates.find((each) => each.target?.dev === device.target?.dev);
  // There is one of each type.
  if (kind === "graphics") return candidates.find((each) => each["type"] === device["type"]);
  const mac = device.mac?.address?.toLowerCase();
  if (mac !== undefined) return candidates.find((each) => each.mac?.address?.toLowerCase() === mac);
  return candidates.find((each) => says(each, device));
}

/** The device of an alias, of whatever kind. */
export function findByAlias(document: DomainDocument, alias: string): GivenDevice | undefined {
  for (const kind of KINDS)
    for (const device of devicesOf(document, kind) as Device[])
      if (device.alias?.name === alias) return { kind, device };
  return undefined;
}

export function addDevice(document: DomainDocument, { kind, device }: GivenDevice): void {
  const devices = (document.devices ??= {}) as Record<string, unknown>;
  const known = devices[kind];
  if (kind === "memory") changeMemory(document, device, 1n);
  if (known === undefined) devices[kind] = [device];
  else if (Array.isArray(known)) known.push(device);
  else devices[kind] = [known, device];
}

export function removeDevice(document: DomainDocument, kind: string, device: Device): void {
  const devices = document.devices as Record<string, unknown> | undefined;
  if (devices === undefined) return;
  const known = devices[kind];
  if (kind === "memory") changeMemory(document, device, -1n);
  const left = Array.isArray(known) ? known.filter((each) => each !== device) : [];
  if (left.length > 0) devices[kind] = left;
  else delete devices[kind];
}

/** A domain's memory is that of its modules, too. */
function changeMemory(document: DomainDocument, { target }: Device, sign: 1n | -1n): void {
  const { size } = (target ?? {}) as { readonly size?: { readonly unit?: string; readonly $text?: number | bigint } };
  const kib = (sign * bytesOf(size?.$text ?? 0, size?.unit ?? "KiB")) / 1024n;
  for (const name of ["memory", "currentMemory"] as const)
    document[name] = { unit: "KiB", $text: Number(BigInt(document[name]?.$text ?? 0) + kib) };
}

/** Whether a device is all that a document says of it. */
function says(device: unknown, said: unknown): boolean {
  if (typeof said !== "object" || said === null) return device === said;
  if (typeof device !== "object" || device === null) return false;
  return Object.entries(said).every(([name, value]) => says((device as Record<string, unknown>)[name], value));
}

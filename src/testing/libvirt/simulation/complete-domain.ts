/** What libvirt makes of a definition that it is given: checked, and with what was left open filled in. */
import { randomUUID } from "node:crypto";
import { parseDomainXml } from "../../../libvirt/xml/index.js";
import { busOf } from "./device-names.js";
import type { DomainDocument } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { refusal } from "./refuse.js";
import { bytesOf } from "./sizes.js";

/** Virtualisation types that the simulated hypervisor has. */
const TYPES: ReadonlySet<string> = new Set(["qemu", "kvm"]);
const EMULATOR = "/usr/bin/qemu-system-x86_64";

/** Reads and completes a definition. @throws FakeLibvirtError with the codes of libvirt's parser */
export function readDomainDefinition(host: HostState, xml: string): DomainDocument & { uuid: string; name: string } {
  let document: DomainDocument;
  try {
    document = parseDomainXml(xml);
  } catch (error) {
    throw refusal("xmlDetail", "domain", `(domain_definition):1: ${error instanceof Error ? error.message : ""}`);
  }
  const { name } = document;
  if (name === undefined || name === "") throw refusal("noName", "domain", "missing name for domain");
  if (document.type === undefined) throw refusal("internalError", "domain", "missing domain type attribute");
  if (!TYPES.has(document.type))
    throw refusal("configUnsupported", "qemu", `could not find capabilities for domaintype=${document.type}`);
  document.uuid = document.uuid?.toLowerCase() ?? randomUUID();
  completeMemory(document);
  document.vcpu = { placement: "static", $text: 1, ...document.vcpu };
  completeOs(document);
  completeDevices(host, document);
  delete document.id;
  return Object.assign(document, { uuid: document.uuid, name });
}

function completeMemory(document: DomainDocument): void {
  const total = document.memory;
  if (total?.$text === undefined) throw refusal("xmlError", "domain", "missing memory element");
  const kib = Number(bytesOf(total.$text, total.unit ?? "KiB") / 1024n);
  const current = document.currentMemory;
  const currentKib = current?.$text === undefined ? kib : Number(bytesOf(current.$text, current.unit ?? "KiB") / 1024n);
  document.memory = { ...total, unit: "KiB", $text: kib };
  document.currentMemory = { unit: "KiB", $text: Math.min(kib, currentKib) };
}

function completeOs(document: DomainDocument): void {
  const { type } = document.os ?? {};
  if (type?.$text === undefined) throw refusal("xmlError", "domain", "an os <type> must be specified");
  if (type.$text !== "hvm")
    throw refusal("configUnsupported", "capabilities", `could not find capabilities for ostype=${type.$text}`);
  document.os = { ...document.os, type: { arch: "x86_64", machine: "pc-q35-7.2", ...type } };
  document.on_poweroff ??= "destroy";
  document.on_reboot ??= "restart";
  document.on_crash ??= "destroy";
}

function completeDevices(host: HostState, document: DomainDocument): void {
  const devices = (document.devices ??= {});
  devices.emulator ??= EMULATOR;
  const targets = new Set<string>();
  for (const disk of devices.disk ?? []) {
    completeDisk(disk);
    const dev = disk.target?.dev ?? "";
    if (targets.has(dev)) throw refusal("xmlError", "domain", `target '${dev}' duplicated for disk sources`);
    targets.add(dev);
  }
  for (const nic of devices.interface ?? []) completeInterface(host, nic);
}

/** Fills in what a disk leaves open. @throws FakeLibvirtError when it can't be a disk */
export function completeDisk(disk: NonNullable<NonNullable<DomainDocument["devices"]>["disk"]>[number]): void {
  const { target } = disk;
  if (target?.dev === undefined) throw refusal("xmlError", "domain", "missing target information for disk");
  disk.type ??= "file";
  disk.device ??= "disk";
  disk.target = { ...target, bus: target.bus ?? busOf(target.dev) };
  disk.driver = { name: "qemu", type: "raw", ...disk.driver };
  if (disk.device === "cdrom") disk.readonly ??= true;
}

export function completeInterface(
  host: HostState,
  nic: NonNullable<NonNullable<DomainDocument["devices"]>["interface"]>[number],
): void {
  if (nic.mac?.address === undefined) nic.mac = { ...nic.mac, address: host.takeMac() };
}

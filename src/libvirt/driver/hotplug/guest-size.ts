/** How many vCPUs and how much memory a guest has, in its definition and as libvirt has it. Pure. */
import type { GuestDefinition } from "../../../driver/index.js";
import type { DomainXml, LibvirtXml } from "../../xml/index.js";

const KIB_PER_MIB = 1024;
/** Units that libvirt writes, in KiB. */
const KIB: Readonly<Record<string, number>> = { KiB: 1, MiB: 1024, GiB: 1_048_576 };

/** Memory that was plugged into a guest. */
export interface MemoryDevice {
  /** `dimm` is all that comes and goes as a whole. */
  readonly model: "dimm" | "virtio-mem";
  readonly alias?: string;
  /** All that the guest may be given by it. */
  readonly sizeMiB: number;
  /** Of a `virtio-mem`: what the guest is to have of it. */
  readonly requestedMiB: number;
  /** Of a `virtio-mem`: what it has. */
  readonly currentMiB: number;
  readonly xml: LibvirtXml.DomainDevicesMemory;
}

export interface LiveMemory {
  /** What the guest was started with. */
  readonly bootMiB: number;
  readonly devices: readonly MemoryDevice[];
  /** What the guest is to have in all. */
  readonly memoryMiB: number;
}

/** Most that a guest may be given while it runs. */
export function maxMemoryMiB({ memoryMiB, hardware }: Pick<GuestDefinition, "memoryMiB" | "hardware">): number {
  return Math.max(memoryMiB, hardware?.memory?.maxMiB ?? memoryMiB);
}

export function maxVcpus({ vcpus, hardware }: Pick<GuestDefinition, "vcpus" | "hardware">): number {
  return Math.max(vcpus, hardware?.cpu?.maxVcpus ?? vcpus);
}

/** The definition with so many vCPUs. What the guest may have at most stays the same. */
export function withVcpus(definition: GuestDefinition, vcpus: number): GuestDefinition {
  if (definition.vcpus === vcpus) return definition;
  const { hardware } = definition;
  const most = Math.max(maxVcpus(definition), vcpus);
  return { ...definition, vcpus, hardware: { ...hardware, cpu: { ...hardware?.cpu, maxVcpus: most } } };
}

export function withMemory(definition: GuestDefinition, memoryMiB: number): GuestDefinition {
  return definition.memoryMiB === memoryMiB ? definition : { ...definition, memoryMiB };
}

/** vCPUs that a domain has now; undefined where it does not say. */
export function vcpusOf({ vcpu }: DomainXml): number | undefined {
  return vcpu?.current ?? vcpu?.$text;
}

/** A domain's memory; undefined where it does not say. */
export function memoryOf({ memory, devices }: DomainXml): LiveMemory | undefined {
  const total = mib(memory);
  if (total === undefined) return undefined;
  const plugged = (devices?.memory ?? []).flatMap(memoryDeviceOf);
  const bootMiB = total - plugged.reduce((sum, { sizeMiB }) => sum + sizeMiB, 0);
  return {
    bootMiB,
    devices: plugged,
    memoryMiB: bootMiB + plugged.reduce((sum, device) => sum + askedOf(device), 0),
  };
}

function askedOf({ model, sizeMiB, requestedMiB }: MemoryDevice): number {
  return model === "dimm" ? sizeMiB : requestedMiB;
}

function memoryDeviceOf(xml: LibvirtXml.DomainDevicesMemory): MemoryDevice[] {
  const { model, target, alias } = xml;
  const sizeMiB = mib(target?.size);
  if (sizeMiB === undefined) return [];
  const requestedMiB = mib(target?.requested) ?? 0;
  return [
    {
      model: model === "virtio-mem" ? "virtio-mem" : "dimm",
      ...(alias?.name === undefined ? {} : { alias: alias.name }),
      sizeMiB,
      requestedMiB,
      currentMiB: mib(target?.current) ?? requestedMiB,
      xml,
    },
  ];
}

function mib(
  size: { readonly unit?: string | undefined; readonly $text?: number | bigint | undefined } | undefined,
): number | undefined {
  const scale = KIB[size?.unit ?? "KiB"];
  if (size?.$text === undefined || scale === undefined) return undefined;
  return (Number(size.$text) * scale) / KIB_PER_MIB;
}

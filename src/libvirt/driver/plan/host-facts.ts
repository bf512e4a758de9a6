/** What a host's libvirt says that its hypervisor can do, read from its capabilities. Pure. */
import { NotSupportedError } from "../../../core/index.js";
import type { CapabilitiesXml, DomainCapabilitiesXml, LibvirtXml } from "../../xml/index.js";
import { domainTypeOf } from "./virt-type.js";
import type { VirtType } from "./virt-type.js";

/** What can be chosen of one kind of thing: `enums.bus` of disks has `virtio`. What is not listed was not said. */
export interface ChoiceFacts {
  readonly supported: boolean;
  readonly enums: Readonly<Record<string, readonly string[]>>;
}

export interface CpuModelFacts {
  readonly name: string;
  /** False: this host lacks something that the model has. */
  readonly usable: boolean;
}

/** What guests of one machine type can have, by libvirt's domain capabilities. */
export interface MachineFacts {
  /** libvirt's full name: `pc-q35-9.2`. Absent for kinds without machines. */
  readonly machine?: string;
  /** The architecture that it is of; absent: not said. */
  readonly arch?: string;
  readonly emulator?: string;
  readonly maxVcpus?: number;
  readonly ioThreads: boolean;
  /** Firmware that libvirt finds by itself: `efi`. */
  readonly firmwares: readonly string[];
  readonly secureBoot: boolean;
  /** CPU modes by libvirt's names. */
  readonly cpuModes: readonly string[];
  readonly cpuModels: readonly CpuModelFacts[];
  /** Where memory can be; absent: not said. */
  readonly memorySources?: readonly string[];
  /** By libvirt's names of devices: `disk`, `video`, `tpm`. */
  readonly devices: Readonly<Record<string, ChoiceFacts>>;
  /** By libvirt's names of features: `genid`, `sev`, `hyperv`. */
  readonly features: Readonly<Record<string, ChoiceFacts>>;
}

export interface GuestKindFacts {
  /** `hvm`, `xen`, `linux`, `exe`, `uml`. */
  readonly osType: string;
  readonly arch: string;
  readonly emulator?: string;
  /** Xen's own firmware for fully virtual guests. */
  readonly loader?: string;
  /** Names of machine types with what each stands for now. */
  readonly machines: readonly { readonly name: string; readonly canonical?: string; readonly maxVcpus?: number }[];
}

export interface LibvirtHostFacts {
  readonly virtType: VirtType;
  /** major * 1,000,000 + minor * 1,000 + micro. */
  readonly libvirtVersion: number;
  readonly hostUuid?: string;
  /** The host's own architecture. */
  readonly arch: string;
  /** Features of the host's CPU, as far as libvirt names them. */
  readonly cpuFeatures: readonly string[];
  /** Sizes of huge pages, KiB. */
  readonly hugepagesKiB: readonly number[];
  /** Numbers of the host's NUMA nodes. */
  readonly numaNodes: readonly number[];
  /** What guests this kind of hypervisor has here. */
  readonly guests: readonly GuestKindFacts[];
  /** One for each document of domain capabilities; none: nothing is known, and nothing refused for want of it. */
  readonly machines: readonly MachineFacts[];
  /** Files of guests' disks can be opened past the page cache. */
  readonly directIo: boolean;
}

export interface LibvirtHostSources {
  readonly virtType: VirtType;
  /** As `connectGetLibVersion` gives it. */
  readonly libvirtVersion: number;
  readonly capabilities: CapabilitiesXml;
  /** As `connectGetDomainCapabilities` gives them, one for each machine that guests may have. */
  readonly domainCapabilities?: readonly DomainCapabilitiesXml[];
  /** Whether a file where disks are can be opened with O_DIRECT. Default true. */
  readonly directIo?: boolean;
}

/**
 * The facts that plans are made with.
 * @throws NotSupportedError when this libvirt has no guests of the kind
 */
export function libvirtHostFacts(sources: LibvirtHostSources): LibvirtHostFacts {
  const { virtType, libvirtVersion, capabilities, domainCapabilities = [], directIo = true } = sources;
  const { host } = capabilities;
  const guests = (capabilities.guest ?? []).flatMap((guest) => guestKind(guest, virtType));
  if (guests.length === 0)
    throw new NotSupportedError({ capability: virtType, message: `this host's libvirt has no ${virtType} guests` });
  return {
    virtType,
    libvirtVersion,
    ...(host?.uuid === undefined ? {} : { hostUuid: host.uuid }),
    arch: host?.cpu?.arch ?? guests[0]?.arch ?? "x86_64",
    cpuFeatures: (host?.cpu?.feature ?? []).flatMap(({ name }) => name ?? []),
    hugepagesKiB: hugepages(host?.cpu?.pages ?? []),
    numaNodes: (host?.topology?.cells?.cell ?? []).flatMap(({ id }) => id ?? []),
    guests,
    machines: domainCapabilities.map(machineFacts),
    directIo,
  };
}

function guestKind({ os_type: osType, arch }: LibvirtXml.CapabilitiesGuest, virtType: VirtType): GuestKindFacts[] {
  const wanted = domainTypeOf(virtType);
  const domain = arch?.domain?.find(({ type }) => type === wanted || type === virtType);
  if (osType === undefined || arch?.name === undefined || domain === undefined) return [];
  const emulator = domain.emulator ?? arch.emulator;
  return [
    {
      osType,
      arch: arch.name,
      ...(emulator === undefined ? {} : { emulator }),
      ...(arch.loader === undefined ? {} : { loader: arch.loader }),
      machines: (domain.machine?.length ? domain.machine : (arch.machine ?? [])).flatMap(machineName),
    },
  ];
}

function machineName({ $text: name, canonical, maxCpus }: LibvirtXml.CapabilitiesMachine): GuestKindFacts["machines"] {
  if (name === undefined) return [];
  return [
    {
      name,
      ...(canonical === undefined ? {} : { canonical }),
      ...(maxCpus === undefined ? {} : { maxVcpus: maxCpus }),
    },
  ];
}

/** The smallest size is the ordinary page's. */
function hugepages(pages: readonly LibvirtXml.CapabilitiesPages[]): readonly number[] {
  const sizes = pages.flatMap(({ size, unit = "KiB" }) => (size === undefined || unit !== "KiB" ? [] : [size]));
  return sizes.sort((a, b) => a - b).slice(1);
}

function machineFacts(capabilities: DomainCapabilitiesXml): MachineFacts {
  const { machine, arch, path, vcpu, iothreads, os, cpu, memoryBacking } = capabilities;
  const memorySources = choices(memoryBacking).enums["sourceType"];
  return {
    ...(machine === undefined ? {} : { machine }),
    ...(arch === undefined ? {} : { arch }),
    ...(path === undefined ? {} : { emulator: path }),
    ...(vcpu?.max === undefined ? {} : { maxVcpus: vcpu.max }),
    ioThreads: iothreads?.supported === "yes",
    firmwares: choices(os).enums["firmware"] ?? [],
    secureBoot: choices(os?.loader).enums["secure"]?.includes("yes") === true,
    cpuModes: (cpu?.mode ?? []).flatMap(({ name, supported }) =>
      name !== undefined && supported === "yes" ? [name] : [],
    ),
    cpuModels: (cpu?.mode?.find(({ name }) => name === "custom")?.model ?? []).flatMap(({ $text, usable }) =>
      $text === undefined ? [] : [{ name: $text, usable: usable !== "no" }],
    ),
    ...(memorySources === undefined ? {} : { memorySources }),
    devices: choicesOf(capabilities.devices),
    features: choicesOf(capabilities.features),
  };
}

interface Choices {
  readonly supported?: string | undefined;
  readonly enum?: readonly LibvirtXml.DomainCapabilitiesEnum[] | undefined;
}

function choicesOf(group: object | undefined): Readonly<Record<string, ChoiceFacts>> {
  const entries = Object.entries(group ?? {}).filter(([name]) => !name.startsWith("$"));
  return Object.fromEntries(entries.map(([name, value]) => [name, choices(value as Choices)]));
}

function choices(given: Choices | undefined): ChoiceFacts {
  const lists = (given?.enum ?? []).flatMap(({ name, value }) =>
    name === undefined ? [] : [[name, value ?? []] as const],
  );
  return { supported: given?.supported === "yes", enums: Object.fromEntries(lists) };
}

/** Whether guests of a machine can have a device with a value; where libvirt does not say, yes. */
export function offers(facts: MachineFacts | undefined, device: string, list: string, value: string): boolean {
  const known = facts?.devices[device];
  if (known === undefined) return true;
  return known.supported && (known.enums[list]?.includes(value) ?? true);
}

/** Whether a feature is there: undefined where libvirt does not say. */
export function hasFeature(facts: MachineFacts | undefined, feature: string): boolean | undefined {
  return facts?.features[feature]?.supported;
}

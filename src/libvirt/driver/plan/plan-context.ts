/** What all parts of a plan are made from: the definition, and which kind of guest on which machine it is. */
import type { GuestDefinition, GuestHardware, Machine } from "../../../driver/index.js";
import { withFileMemory } from "./file-memory.js";
import type { GuestKindFacts, LibvirtHostFacts, MachineFacts } from "./host-facts.js";
import type { DomainPlanOptions } from "./plan-options.js";
import { libvirtPlatform } from "./platform.js";
import type { LibvirtPlatform } from "./platform.js";
import { invalid, unsupported } from "./refuse.js";

/** What domains of a kind look like. */
export type DomainFamily = "qemu" | "lxc" | "xenHvm" | "xenPv" | "parallels" | "parallelsCt" | "uml";

export interface PlanContext {
  readonly definition: GuestDefinition;
  readonly hardware: GuestHardware;
  readonly host: LibvirtHostFacts;
  readonly options: DomainPlanOptions;
  readonly platform: LibvirtPlatform;
  readonly family: DomainFamily;
  /** What libvirt says of guests of the kind. */
  readonly guest: GuestKindFacts;
  /** Of QEMU guests. */
  readonly machine?: Machine;
  readonly machineType?: string;
  /** What this host has for the machine; absent: not known. */
  readonly facts?: MachineFacts;
}

const OS_TYPES: { readonly [F in DomainFamily]: readonly string[] } = {
  qemu: ["hvm"],
  lxc: ["exe"],
  xenHvm: ["hvm"],
  xenPv: ["xen", "linux"],
  parallels: ["hvm"],
  parallelsCt: ["exe"],
  uml: ["uml"],
};

/** @throws NotSupportedError, InvalidArgumentError */
export function planContext(given: GuestDefinition, host: LibvirtHostFacts, options: DomainPlanOptions): PlanContext {
  const definition = options.fileMemory === true ? withFileMemory(given, options) : given;
  const platform = libvirtPlatform(definition.platform);
  const family = familyOf(host, platform);
  const arch = archOf(definition.machine, host.arch);
  const kinds = host.guests.filter(({ osType }) => OS_TYPES[family].includes(osType));
  const guest = kinds.find((kind) => kind.arch === arch);
  if (guest === undefined)
    throw unsupported(
      definition.machine === undefined ? "platform" : "machine",
      `this host's libvirt has no such guests for ${arch}`,
    );
  const common = { definition, hardware: definition.hardware ?? {}, host, options, platform, family, guest };
  if (family === "qemu") return { ...common, ...qemuMachine(definition.machine, guest, host, options) };
  if (definition.machine !== undefined) throw unsupported("machine", `${host.virtType} guests have no machine types`);
  const [facts] = host.machines;
  return { ...common, ...(facts === undefined ? {} : { facts }) };
}

/** What kind of domain a guest becomes. @throws NotSupportedError, InvalidArgumentError */
export function domainFamily(host: LibvirtHostFacts, { platform }: Pick<GuestDefinition, "platform">): DomainFamily {
  return familyOf(host, libvirtPlatform(platform));
}

function familyOf({ virtType }: LibvirtHostFacts, platform: LibvirtPlatform): DomainFamily {
  const { xen = "hvm", parallels = "vm" } = platform;
  if (virtType === "kvm" || virtType === "qemu") return "qemu";
  if (virtType === "xen") return xen === "pv" ? "xenPv" : "xenHvm";
  if (virtType === "parallels" && parallels === "ct") return "parallelsCt";
  return virtType;
}

function archOf(machine: Machine | undefined, hostArch: string): string {
  if (machine === undefined) return hostArch;
  return machine === "virt" ? "aarch64" : "x86_64";
}

function qemuMachine(
  wanted: Machine | undefined,
  guest: GuestKindFacts,
  host: LibvirtHostFacts,
  options: DomainPlanOptions,
): Pick<PlanContext, "machine" | "machineType" | "facts"> {
  const machine = wanted ?? (guest.arch === "aarch64" ? "virt" : "q35");
  // It has no PCI, and libvirt gives devices no other place there.
  if (machine === "microvm") throw unsupported("machine", "libvirt has no guests on microvm");
  if (!["x86_64", "aarch64"].includes(guest.arch))
    throw unsupported("machine", `guests on ${guest.arch} are not planned for`);
  const known = guest.machines.find(({ name }) => name === machine);
  if (known === undefined && guest.machines.length > 0)
    throw unsupported("machine", `this host's libvirt has no machine ${machine}`);
  const machineType = options.machineType ?? known?.canonical ?? machine;
  if (!/^[A-Za-z0-9_.-]+$/.test(machineType)) throw invalid("machine", machineType, "the name of a machine type");
  const ofArch = host.machines.filter(({ arch }) => arch === undefined || arch === guest.arch);
  const facts = ofArch.find((one) => one.machine === machineType || one.machine === known?.canonical);
  return { machine, machineType, ...(facts === undefined ? {} : { facts }) };
}

/** Whether the guest has an x86 machine's parts. */
export function isX86({ guest }: Pick<PlanContext, "guest">): boolean {
  return guest.arch === "x86_64" || guest.arch === "i686";
}

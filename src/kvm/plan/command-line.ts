/** From a definition to QEMU's command line. Pure. Values of a definition stand only inside JSON, as whole arguments, or behind escaped commas. */
import type { JsonObject } from "../../core/index.js";
import type { GuestDefinition, GuestDisk, GuestNic } from "../../driver/index.js";
import type { QemuCapabilities } from "./capabilities.js";
import {
  blockNodes,
  diskDevice,
  netBackend,
  nicDevice,
  queuesOf,
  rootAddress,
  rootPort,
  scsiController,
} from "./devices.js";
import type { NicConnection } from "./devices.js";
import { bindingOf } from "./hardware.js";
import type { Hardware } from "./hardware.js";
import { TOPOLOGIES } from "./topology.js";
import type { Topology } from "./topology.js";

export type Accelerator = "kvm" | "tcg";

/** Files in the guest's directory, which QEMU gets as a descriptor: so a long path of the state directory meets no limit of socket addresses. */
export const GUEST_FILES = {
  monitor: "qmp.sock",
  toolsMonitor: "tools.sock",
  console: "console.sock",
  consoleLog: "console.log",
  agent: "agent.sock",
  log: "qemu.log",
  pid: "qemu.pid",
  runtime: "runtime.json",
} as const;

/** Ids of the parts that every guest has. */
export const PARTS = {
  console: "console0",
  agent: "agent0",
  agentChardev: "agent",
  consoleChardev: "console",
  balloon: "balloon0",
} as const;

/** A descriptor that QEMU inherits: its number there and what it is. */
export type InheritedDescriptor =
  | { readonly fd: number; readonly what: "directory" }
  | { readonly fd: number; readonly what: "monitor" }
  | { readonly fd: number; readonly what: "tap" | "vhost"; readonly nicId: string; readonly queue: number };

/** How the host connects NICs. */
export interface NetworkAccess {
  /** `descriptors`: we open TAPs and hand them over. `name`: QEMU opens them. */
  readonly taps: "descriptors" | "name";
  /** True where /dev/vhost-net opens. */
  readonly vhost: boolean;
}

export interface CommandLineRequest {
  readonly definition: GuestDefinition;
  readonly hardware: Hardware;
  readonly capabilities: Pick<QemuCapabilities, "devices">;
  readonly accelerator: Accelerator;
  readonly cpuModel: string;
  readonly network: NetworkAccess;
  /** The whole path of the pid file: no other process has it in its arguments. */
  readonly pidFile: string;
}

export interface CommandLine {
  /** Arguments, without the binary. */
  readonly args: readonly string[];
  /** In the order of their numbers, which begin with 3. */
  readonly descriptors: readonly InheritedDescriptor[];
}

const FIRST_DESCRIPTOR = 3;

/** The command line that starts the guest, its vCPUs stopped. */
export function planCommandLine(request: CommandLineRequest): CommandLine {
  const descriptors = planDescriptors(request);
  const directory = `/proc/self/fd/${numberOf(descriptors, "directory")}`;
  const args = [
    ...identity(request),
    ...machine(request),
    ...monitors(directory, numberOf(descriptors, "monitor")),
    ...boot(request.definition),
    ...fixedDevices(request, directory),
    ...disks(request),
    ...nics(request, descriptors),
  ];
  return { args, descriptors };
}

/** A text within a comma-separated option. */
export function escapeOption(text: string): string {
  return text.replaceAll(",", ",,");
}

function identity({ definition, pidFile }: CommandLineRequest): string[] {
  return [
    "-name",
    `guest=${escapeOption(definition.name)},debug-threads=on`,
    "-uuid",
    definition.uuid,
    "-pidfile",
    pidFile,
    "-nodefaults",
    "-no-user-config",
    "-S",
    "-sandbox",
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    "-msg",
    "timestamp=on",
    "-display",
    "none",
  ];
}

function machine({ definition, hardware, accelerator, cpuModel }: CommandLineRequest): string[] {
  const options = hardware.machine === "microvm" ? "acpi=on,pcie=on,rtc=on" : "usb=off";
  const { vcpus, cpuTopology, memoryMiB } = definition;
  const topology = cpuTopology ?? { sockets: vcpus, cores: 1, threads: 1 };
  return [
    "-machine",
    `${hardware.machineType},${options},dump-guest-core=off`,
    "-accel",
    accelerator,
    "-cpu",
    cpuModel,
    "-smp",
    `cpus=${vcpus},sockets=${topology.sockets},cores=${topology.cores},threads=${topology.threads}`,
    "-m",
    `size=${memoryMiB}M`,
    "-rtc",
    "base=utc",
  ];
}

/** QEMU serves one client a monitor. A private one for the process that starts the guest, one by path for the driver processes after it, and one for people and tools. */
function monitors(directory: string, monitorFd: number): string[] {
  return [
    "-chardev",
    `socket,id=monitor,fd=${monitorFd}`,
    "-mon",
    "chardev=monitor,mode=control",
    "-chardev",
    `socket,id=monitor-path,path=${directory}/${GUEST_FILES.monitor},server=on,wait=off`,
    "-mon",
    "chardev=monitor-path,mode=control",
    "-chardev",
    `socket,id=monitor-tools,path=${directory}/${GUEST_FILES.toolsMonitor},server=on,wait=off`,
    "-mon",
    "chardev=monitor-tools,mode=control",
  ];
}

function boot({ kernel }: GuestDefinition): string[] {
  if (kernel === undefined) return ["-boot", "strict=on"];
  const { kernelPath, ramdiskPath, commandLine } = kernel;
  return [
    "-kernel",
    kernelPath,
    ...(ramdiskPath === undefined ? [] : ["-initrd", ramdiskPath]),
    ...(commandLine === undefined ? [] : ["-append", commandLine]),
  ];
}

function fixedDevices(request: CommandLineRequest, directory: string): string[] {
  const { definition, hardware, capabilities } = request;
  const topology = TOPOLOGIES[hardware.machine];
  const has = (driver: string): boolean => capabilities.devices.includes(driver);
  const at = (slot: number): JsonObject => rootAddress(topology, slot);
  const { fixed } = topology;
  return [
    ...Array.from({ length: hardware.ports }, (_, port) => device(rootPort(port))).flat(),
    ...serialConsole(topology, directory),
    ...(topology.video && has("VGA") ? device({ driver: "VGA", id: "video0", ...at(fixed.video) }) : []),
    ...device({ driver: "virtio-serial-pci", id: "vserial0", ...at(fixed.serial) }),
    ...(definition.guestAgent ? agentChannel(directory) : []),
    ...objectArgs({ "qom-type": "rng-random", id: "entropy0", filename: "/dev/urandom" }),
    ...device({ driver: "virtio-rng-pci", id: "rng0", rng: "entropy0", ...at(fixed.rng) }),
    ...device({ driver: "virtio-balloon-pci", id: PARTS.balloon, ...at(fixed.balloon) }),
    ...(usesPool(hardware, "usb") ? device({ driver: "qemu-xhci", id: "usb0", p2: 8, p3: 8, ...at(fixed.usb) }) : []),
    ...(usesPool(hardware, "ahci") && !topology.builtInAhci
      ? device({ driver: "ich9-ahci", id: "ahci0", ...at(fixed.ahci) })
      : []),
    ...(hardware.machine !== "microvm" && has("pvpanic") ? device({ driver: "pvpanic", id: "panic0" }) : []),
    ...hardware.bindings
      .filter(({ kind }) => kind === "controller")
      .flatMap((binding) => device(scsiController(binding, hardware))),
  ];
}

/** QEMU keeps a log of what the guest writes, since nobody may be there to read it; a reader that comes is served beside it. */
function serialConsole(topology: Topology, directory: string): string[] {
  const chardev = [
    `socket,id=${PARTS.consoleChardev},path=${directory}/${GUEST_FILES.console},server=on,wait=off`,
    `logfile=${directory}/${GUEST_FILES.consoleLog},logappend=on`,
  ].join(",");
  const port =
    topology.machine === "microvm"
      ? ["-serial", `chardev:${PARTS.consoleChardev}`]
      : device({ driver: "isa-serial", id: PARTS.console, chardev: PARTS.consoleChardev });
  return ["-chardev", chardev, ...port];
}

function agentChannel(directory: string): string[] {
  return [
    "-chardev",
    `socket,id=${PARTS.agentChardev},path=${directory}/${GUEST_FILES.agent},server=on,wait=off`,
    ...device({
      driver: "virtserialport",
      id: PARTS.agent,
      bus: "vserial0.0",
      nr: 1,
      chardev: PARTS.agentChardev,
      name: "org.qemu.guest_agent.0",
    }),
  ];
}

function disks({ definition, hardware }: CommandLineRequest): string[] {
  return definition.disks.flatMap((disk, index) => {
    const binding = bindingOf(hardware, "disk", disk.id);
    if (binding === undefined) return [];
    const seen = diskDevice(binding, withBootIndex(disk, index, definition), hardware);
    return ["-blockdev", JSON.stringify(blockNodes(binding.handle, disk)), ...device(seen)];
  });
}

/** The disk with its place in the boot order. A kernel that QEMU loads has the first; without any order the first disk is booted from. */
export function withBootIndex(
  disk: GuestDisk,
  index: number,
  { kernel, disks }: Pick<GuestDefinition, "kernel" | "disks">,
): GuestDisk {
  const { bootIndex: _, ...rest } = disk;
  if (kernel !== undefined) return rest;
  const unordered = disks.every((other) => other.bootIndex === undefined);
  return unordered && index === 0 ? { ...rest, bootIndex: 0 } : disk;
}

function nics({ definition, hardware }: CommandLineRequest, descriptors: readonly InheritedDescriptor[]): string[] {
  return definition.nics.flatMap((nic) => {
    const binding = bindingOf(hardware, "nic", nic.id);
    if (binding === undefined) return [];
    const backend = netBackend(binding.handle, connectionOf(nic, descriptors));
    return ["-netdev", JSON.stringify(backend), ...device(nicDevice(binding, nic, hardware))];
  });
}

function connectionOf(nic: GuestNic, descriptors: readonly InheritedDescriptor[]): NicConnection {
  const { backend } = nic;
  if (backend.type === "user")
    return backend.cidr === undefined ? { type: "user" } : { type: "user", cidr: backend.cidr };
  const numbers = (what: "tap" | "vhost"): string[] =>
    descriptors.filter((entry) => entry.what === what && entry.nicId === nic.id).map(({ fd }) => String(fd));
  const tap = numbers("tap");
  if (tap.length === 0) return { type: "name", deviceName: backend.deviceName, queues: queuesOf(nic) };
  return { type: "descriptors", tap, vhost: numbers("vhost") };
}

function planDescriptors({ definition, network }: CommandLineRequest): InheritedDescriptor[] {
  type Unnumbered = InheritedDescriptor extends infer D ? (D extends unknown ? Omit<D, "fd"> : never) : never;
  const wanted: Unnumbered[] = [{ what: "directory" }, { what: "monitor" }];
  for (const nic of definition.nics) {
    if (nic.backend.type !== "tap" || network.taps !== "descriptors") continue;
    const queues = Array.from({ length: queuesOf(nic) }, (_, queue) => queue);
    for (const queue of queues) wanted.push({ what: "tap", nicId: nic.id, queue });
    if (network.vhost && nic.model === "virtio")
      for (const queue of queues) wanted.push({ what: "vhost", nicId: nic.id, queue });
  }
  return wanted.map((entry, index) => ({ ...entry, fd: FIRST_DESCRIPTOR + index }));
}

function numberOf(descriptors: readonly InheritedDescriptor[], what: "directory" | "monitor"): number {
  return descriptors.findIndex((entry) => entry.what === what) + FIRST_DESCRIPTOR;
}

function usesPool(hardware: Hardware, pool: "usb" | "ahci"): boolean {
  return hardware.bindings.some((binding) => binding.pool === pool);
}

function device(properties: JsonObject): string[] {
  return ["-device", JSON.stringify(properties)];
}

function objectArgs(properties: JsonObject): string[] {
  return ["-object", JSON.stringify(properties)];
}

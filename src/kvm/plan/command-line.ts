/** From a definition to QEMU's command line. Pure. Values of a definition stand only inside JSON, as whole arguments, or behind escaped commas. */
import type { JsonObject } from "../../core/index.js";
import type { GuestDefinition, GuestDisk, GuestNic } from "../../driver/index.js";
import { device, escapeOption, object } from "./arguments.js";
import { USB_CONTROLLER } from "./built-in-parts.js";
import type { QemuCapabilities } from "./capabilities.js";
import type { CpuCapabilities } from "./cpu.js";
import { diskObjectProperties, diskObjects } from "../../storage/index.js";
import type { DiskObject } from "../../storage/index.js";
import { blockNodes, isLoaded } from "./block-nodes.js";
import {
  FLOPPY_CONTROLLER,
  diskDevice,
  expansionAddress,
  netBackend,
  nicDevice,
  nicSocket,
  queuesOf,
  rootAddress,
  rootPort,
} from "./devices.js";
import type { NicConnection } from "./devices.js";
import { extraArguments } from "./extra-arguments.js";
import { graphicsArguments, spiceAgentArguments, videoArguments } from "./graphics.js";
import { guestDevice } from "./guest-devices.js";
import { bindingOf } from "./hardware.js";
import type { Hardware } from "./hardware.js";
import { planHelpers } from "./helper-plan.js";
import type { HelperBinaries, HelperPlan } from "./helper-plan.js";
import { machineArguments } from "./machine-arguments.js";
import { memoryBackend, memoryDevice, memoryObject, memoryObjectMiB, memoryOf } from "./memory-slots.js";
import { GUEST_FILES, PARTS } from "./parts.js";
import * as peripherals from "./peripherals.js";
import { smbiosArguments } from "./smbios.js";
import { TOPOLOGIES } from "./topology.js";
import type { Topology } from "./topology.js";

export type Accelerator = "kvm" | "tcg";

export { escapeOption } from "./arguments.js";
export { maxVcpus } from "./cpu.js";
export { GUEST_FILES, PARTS } from "./parts.js";

/** A descriptor that QEMU inherits: its number there and what it is. */
export type InheritedDescriptor =
  | { readonly fd: number; readonly what: "directory" }
  | { readonly fd: number; readonly what: "monitor" }
  /** QEMU's end of the socket pair to the TPM's process. */
  | { readonly fd: number; readonly what: "tpm" }
  | { readonly fd: number; readonly what: "tap" | "vhost"; readonly nicId: string; readonly queue: number }
  /** A file with a secret of a disk's, by the id that QEMU has it under. */
  | { readonly fd: number; readonly what: "secret"; readonly object: string; readonly secretId: string };

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
  /** What CPUs there are; absent where that was not asked. */
  readonly cpu?: CpuCapabilities | undefined;
  readonly helpers?: HelperBinaries | undefined;
  /** A port for SPICE, where the definition leaves the choice. */
  readonly spicePort?: number | undefined;
}

export interface CommandLine {
  /** Arguments, without the binary. */
  readonly args: readonly string[];
  /** In the order of their numbers, which begin with 3. */
  readonly descriptors: readonly InheritedDescriptor[];
  /** Processes that QEMU needs beside it, to be started before it. */
  readonly helpers: readonly HelperPlan[];
}

/** The first descriptor that QEMU inherits beside the standard ones. */
export const FIRST_DESCRIPTOR = 3;

/** The command line that starts the guest, its vCPUs stopped. */
export function planCommandLine(request: CommandLineRequest): CommandLine {
  const { definition, capabilities, hardware } = request;
  const descriptors = planDescriptors(request);
  const directory = `/proc/self/fd/${numberOf(descriptors, "directory")}`;
  const tpmFd = descriptors.find(({ what }) => what === "tpm")?.fd;
  const parts = { definition, hardware, directory, tpmFd };
  const display = { definition, machine: hardware.machine };
  const args = [
    ...identity(request),
    ...machineArguments(request),
    ...monitors(directory, numberOf(descriptors, "monitor")),
    ...boot(definition),
    ...peripherals.actions(parts),
    ...smbiosArguments(definition.hardware?.smbios),
    ...graphicsArguments({ ...display, directory, spicePort: request.spicePort }),
    ...fixedDevices(request, parts, capabilities.devices),
    ...diskObjectArguments(request, descriptors),
    ...disks(request),
    ...nics(request, descriptors),
    ...pluggedMemory(request),
    ...guestDevices(request),
    ...extraArguments(definition.platform?.["kvm"], "definition.platform.kvm"),
  ];
  return { args, descriptors, helpers: planHelpers(definition, request.helpers ?? {}) };
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

/** Memory that was plugged into the guest, and its virtio-mem device. */
function pluggedMemory({ definition, hardware }: CommandLineRequest): string[] {
  return hardware.bindings
    .filter(({ kind }) => kind === "memory")
    .flatMap((binding) => {
      const size = memoryObjectMiB(binding, definition, hardware);
      return [
        ...object(memoryObject(memoryBackend(binding.handle), size, memoryOf(definition))),
        ...device(memoryDevice(binding, expansionAddress(binding, TOPOLOGIES[hardware.machine]))),
      ];
    });
}

function guestDevices({ definition, hardware }: CommandLineRequest): string[] {
  return (definition.hardware?.devices ?? []).flatMap((guest) => {
    const binding = bindingOf(hardware, "device", guest.id);
    return binding === undefined ? [] : device(guestDevice(binding, guest, hardware));
  });
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

function boot({ kernel, hardware }: GuestDefinition): string[] {
  const { bootMenuMs = 0 } = hardware ?? {};
  const menu = bootMenuMs === 0 ? "" : `,menu=on,splash-time=${bootMenuMs}`;
  if (kernel === undefined) return ["-boot", `strict=on${menu}`];
  const { kernelPath, ramdiskPath, commandLine } = kernel;
  return [
    ...(menu === "" ? [] : ["-boot", menu.slice(1)]),
    "-kernel",
    kernelPath,
    ...(ramdiskPath === undefined ? [] : ["-initrd", ramdiskPath]),
    ...(commandLine === undefined ? [] : ["-append", commandLine]),
  ];
}

function fixedDevices(
  { definition, hardware }: CommandLineRequest,
  parts: peripherals.PeripheralsRequest,
  devices: readonly string[],
): string[] {
  const topology = TOPOLOGIES[hardware.machine];
  const at = (slot: number): JsonObject => rootAddress(topology, slot);
  const { fixed } = topology;
  const { directory } = parts;
  return [
    ...Array.from({ length: hardware.ports }, (_, port) => device(rootPort(port))).flat(),
    ...serialConsole(topology, directory),
    ...peripherals.serialPorts(parts),
    ...videoArguments({ definition, machine: hardware.machine }, devices),
    ...device({ driver: "virtio-serial-pci", id: "vserial0", ...at(fixed.serial) }),
    ...(definition.guestAgent ? agentChannel(directory) : []),
    ...spiceAgentArguments(definition.hardware?.spice),
    ...peripherals.rng(parts),
    ...peripherals.balloon(parts),
    ...peripherals.tpm(parts),
    ...peripherals.watchdog(parts),
    ...peripherals.sound(parts),
    ...peripherals.generationId(parts),
    ...peripherals.ioThreads(parts),
    ...(needsUsb(hardware) ? device({ driver: "qemu-xhci", id: USB_CONTROLLER, p2: 8, p3: 8, ...at(fixed.usb) }) : []),
    ...(usesPool(hardware, "ahci") && !topology.builtInAhci
      ? device({ driver: "ich9-ahci", id: "ahci0", ...at(fixed.ahci) })
      : []),
    ...(usesPool(hardware, "fdc") && !topology.builtInFloppy
      ? device({ driver: "isa-fdc", id: FLOPPY_CONTROLLER })
      : []),
    ...(topology.isa && devices.includes("pvpanic") ? device({ driver: "pvpanic", id: "panic0" }) : []),
    ...peripherals.boundParts(parts),
  ];
}

/** The USB controller has a fixed slot, but in guests that were given one while they ran. */
function needsUsb(hardware: Hardware): boolean {
  return usesPool(hardware, "usb") && bindingOf(hardware, "controller", USB_CONTROLLER) === undefined;
}

/** QEMU keeps a log of what the guest writes, since nobody may be there to read it; a reader that comes is served beside it. */
function serialConsole(topology: Topology, directory: string): string[] {
  const chardev = [
    `socket,id=${PARTS.consoleChardev},path=${directory}/${GUEST_FILES.console},server=on,wait=off`,
    `logfile=${directory}/${GUEST_FILES.consoleLog},logappend=on`,
  ].join(",");
  const port = !topology.isa
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

/** What the disks' nodes refer to. A secret is read from a descriptor: its value stands nowhere that others see. */
function diskObjectArguments(request: CommandLineRequest, descriptors: readonly InheritedDescriptor[]): string[] {
  return objectsOf(request).flatMap((known) => {
    const found = descriptors.find((entry) => entry.what === "secret" && entry.object === known.id);
    return object(diskObjectProperties(known, found === undefined ? {} : { file: `/proc/self/fd/${found.fd}` }));
  });
}

function objectsOf({ definition, hardware }: CommandLineRequest): readonly DiskObject[] {
  return definition.disks.flatMap((disk) => {
    const binding = bindingOf(hardware, "disk", disk.id);
    return binding === undefined || !isLoaded(disk) ? [] : diskObjects(binding.handle, disk.source);
  });
}

function disks({ definition, hardware }: CommandLineRequest): string[] {
  return definition.disks.flatMap((disk, index) => {
    const binding = bindingOf(hardware, "disk", disk.id);
    if (binding === undefined) return [];
    const seen = diskDevice(binding, withBootIndex(disk, index, definition), hardware);
    const nodes = isLoaded(disk) ? ["-blockdev", JSON.stringify(blockNodes(binding.handle, disk))] : [];
    return [...nodes, ...device(seen)];
  });
}

/** The disk with its place in the boot order. A kernel that QEMU loads has the first; without any order the first disk is booted from. */
export function withBootIndex(
  disk: GuestDisk,
  index: number,
  { kernel, disks, nics }: Pick<GuestDefinition, "kernel" | "disks" | "nics">,
): GuestDisk {
  const { bootIndex: _, ...rest } = disk;
  if (kernel !== undefined) return rest;
  const unordered = [...disks, ...nics].every((other) => other.bootIndex === undefined);
  return unordered && index === 0 ? { ...rest, bootIndex: 0 } : disk;
}

function nics({ definition, hardware }: CommandLineRequest, descriptors: readonly InheritedDescriptor[]): string[] {
  return definition.nics.flatMap((nic) => {
    const binding = bindingOf(hardware, "nic", nic.id);
    if (binding === undefined) return [];
    const connection = connectionOf(nic, descriptors);
    const backend = netBackend(binding.handle, connection);
    return [
      ...socketOf(binding.handle, connection),
      "-netdev",
      JSON.stringify(backend),
      ...device(nicDevice(binding, nic, hardware)),
    ];
  });
}

function socketOf(handle: string, connection: NicConnection): string[] {
  if (connection.type !== "vhostUser") return [];
  const { server, socketPath } = connection;
  const listening = server === "hypervisor" ? ",server=on,wait=off" : "";
  return ["-chardev", `socket,id=${nicSocket(handle)},path=${escapeOption(socketPath)}${listening}`];
}

function connectionOf(nic: GuestNic, descriptors: readonly InheritedDescriptor[]): NicConnection {
  const { backend } = nic;
  if (backend.type === "user")
    return backend.cidr === undefined ? { type: "user" } : { type: "user", cidr: backend.cidr };
  const numbers = (what: "tap" | "vhost"): string[] =>
    descriptors.filter((entry) => entry.what === what && entry.nicId === nic.id).map(({ fd }) => String(fd));
  if (backend.type === "vhostUser") return backend;
  const tap = numbers("tap");
  if (tap.length === 0) return { type: "name", deviceName: backend.deviceName, queues: queuesOf(nic) };
  return { type: "descriptors", tap, vhost: numbers("vhost") };
}

function planDescriptors(request: CommandLineRequest): InheritedDescriptor[] {
  const { definition, network } = request;
  type Unnumbered = InheritedDescriptor extends infer D ? (D extends unknown ? Omit<D, "fd"> : never) : never;
  const wanted: Unnumbered[] = [{ what: "directory" }, { what: "monitor" }];
  if (definition.hardware?.tpm !== undefined) wanted.push({ what: "tpm" });
  for (const nic of definition.nics) {
    // QEMU has no option that names a macvtap device.
    if (nic.backend.type !== "macvtap" && (nic.backend.type !== "tap" || network.taps !== "descriptors")) continue;
    const queues = Array.from({ length: queuesOf(nic) }, (_, queue) => queue);
    for (const queue of queues) wanted.push({ what: "tap", nicId: nic.id, queue });
    if (network.vhost && nic.model === "virtio")
      for (const queue of queues) wanted.push({ what: "vhost", nicId: nic.id, queue });
  }
  for (const known of objectsOf(request))
    if (known.type === "secret") wanted.push({ what: "secret", object: known.id, secretId: known.secretId });
  return wanted.map((entry, index) => ({ ...entry, fd: FIRST_DESCRIPTOR + index }));
}

function numberOf(descriptors: readonly InheritedDescriptor[], what: "directory" | "monitor"): number {
  return descriptors.findIndex((entry) => entry.what === what) + FIRST_DESCRIPTOR;
}

function usesPool(hardware: Hardware, pool: "usb" | "ahci" | "fdc"): boolean {
  return hardware.bindings.some((binding) => binding.pool === pool);
}
